"""One option, one wording: what commands share is the same in all of them."""

import typer.main

from rangemask.cli.main import app

SHARED = (
    "--device",
    "--precision",
    "--memory-budget",
    "--rig",
    "--scale-rig",
    "--layout",
    "--quality",
)


def test_options_that_commands_share_say_the_same() -> None:
    said: dict[str, set[str]] = {name: set() for name in SHARED}
    users: dict[str, int] = dict.fromkeys(SHARED, 0)
    group = typer.main.get_command(app)
    for command in group.commands.values():  # type: ignore[attr-defined]
        for option in command.params:
            for name in set(SHARED) & set(option.opts):
                said[name].add(option.help)
                users[name] += 1
    assert all(len(words) == 1 for words in said.values()), said
    assert all(count >= 2 for count in users.values()), users
