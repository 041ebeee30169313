"""Runs AWS CLI v1 once for each line of JSON, a list of its words, in a process made by a fork.

The program takes over a second only to import itself; here that happens once.
"""

import json
import os
import sys
import tempfile

from awscli.clidriver import create_clidriver  # pyright: ignore[reportMissingImports]


def main():
    program = create_clidriver()
    for line in sys.stdin:
        print(json.dumps(told_by(program, json.loads(line))), flush=True)


def told_by(program, words):
    """Exit code, output and complaint."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as complaint:
        child = os.fork()
        if child == 0:
            os.dup2(output.fileno(), 1)
            os.dup2(complaint.fileno(), 2)
            code = program.main(words)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        _, status = os.waitpid(child, 0)
        return [os.waitstatus_to_exitcode(status), everything(output), everything(complaint)]


def everything(file):
    file.seek(0)
    return file.read().decode()


if __name__ == "__main__":
    main()
