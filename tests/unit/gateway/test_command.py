"""The arguments of tensormask-gateway."""

import pytest
from tensormask_server.gateway.command import main


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--upstream", "127.0.0.1:8080"], "expected http://HOST:PORT"),
        (["--upstream", "https://a"], "expected http://HOST:PORT"),
        (["--upstream", "http://a/path"], "expected http://HOST:PORT"),
        (["--cors-origin", "*"], "is not an origin"),
        (["--cors-origin", "https://a/"], "is not an origin"),
        (["--label-studio", "127.0.0.1:8080"], "expected https://HOST"),
        (["--label-studio", "http://a/?query"], "expected https://HOST"),
        (["--label-studio", "http://user@a"], "expected https://HOST"),
        (["--label-studio-token-file", "token"], "needs --label-studio URL"),
        (["--label-studio", "http://a", "--label-studio-token-file", "absent"], "can't read the token file absent"),
        (["--port", "0"], "is not a port"),
        (["--upstrem", "http://a"], "did you mean --upstream"),
    ],
)
def test_a_wrong_argument_gets_a_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 2
    assert said in capsys.readouterr().err


def test_a_host_that_is_not_this_machine_ends_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-h", "192.0.2.1"]) == 1
    assert "can't listen on 192.0.2.1:8000" in capsys.readouterr().err
