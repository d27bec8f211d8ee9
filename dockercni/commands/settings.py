"""`dockercni settings`: each setting's value and where it came from; needs neither root nor an engine."""

from dockercni import render
from dockercni.commands.table import Request
from dockercni.settings import TABLE, spelled


def run(request: Request) -> int:
    """Print them as their file would spell them; JSON keys: settings {KEY: {value, default, origin, fixed}}."""
    if request.args.example:
        from dockercni.commands.manual import toml  # noqa: PLC0415  values are to be printed quickly

        render.text(toml.example())
        return 0
    found = {setting: spelled(getattr(request.settings, setting.attribute)) for setting in TABLE}
    origins = request.settings.origins
    if request.output == "json":
        render.json(
            {
                "settings": {
                    setting.key: {
                        "value": value,
                        "default": spelled(setting.default),
                        "origin": origins[setting.key],
                        "fixed": setting.fixed,
                    }
                    for setting, value in found.items()
                }
            }
        )
        return 0
    render.table(
        ("SETTING", "VALUE", "FROM"),
        [(setting.key, value or '""', origins[setting.key]) for setting, value in found.items()],
    )
    return 0
