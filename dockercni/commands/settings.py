"""`dockercni settings`: each setting's value and where it came from; needs neither root nor an engine."""

from dockercni import render
from dockercni.commands.table import Invocation
from dockercni.settings import FORMER, RENAME, TABLE, Setting, Settings, spelled


def run(invocation: Invocation) -> int:
    """Print them as their file would spell them.

    JSON keys: settings {KEY: {value, default, origin, fixed}}, oldNames [{name, setting, origin}]. A setting that was
    renamed has its former key beside the new one, with its values as they were called.
    """
    if invocation.args.example:
        from dockercni.commands.manual import toml  # noqa: PLC0415  not needed to print values

        render.text(toml.example())
        return 0
    settings = invocation.settings
    if invocation.output == "json":
        rows = {
            key: _row(setting, settings, key)
            for setting in TABLE
            for key in filter(None, (setting.key, setting.former))
        }
        used = [{"name": name, "setting": FORMER[name].key, "origin": origin} for name, origin in settings.old_names]
        render.json({"settings": rows, "oldNames": used})
        return 0
    render.table(
        ("SETTING", "VALUE", "FROM"),
        [
            (setting.key, spelled(getattr(settings, setting.attribute)) or '""', settings.origins[setting.key])
            for setting in TABLE
        ],
    )
    for one in settings.renamed:
        render.error(f"{one}; {RENAME}")
    return 0


def _row(setting: Setting, settings: Settings, key: str) -> dict[str, object]:
    called = {new: old for old, new in setting.former_values} if key == setting.former else {}
    value, default = spelled(getattr(settings, setting.attribute)), spelled(setting.default)
    return {
        "value": called.get(value, value),
        "default": called.get(default, default),
        "origin": settings.origins[setting.key],
        "fixed": setting.fixed,
    }
