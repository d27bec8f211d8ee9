"""In-process CNI plugins, one module each, behind the same contract as an executable."""
