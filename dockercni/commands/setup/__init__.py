"""Installing and removing the service: `plan` decides the steps, `effects` carries them out."""
