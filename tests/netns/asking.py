"""Asks one question many times: `asking.py PORT NAME COUNT`; prints how many were answered within two seconds each."""

import socket
import sys
import time

PAUSE = 0.001  # so that ten thousand last for as long as a daemon is killed and started five times


def main(port: int, name: str, count: int) -> int:
    """One after the other, each with an id of its own."""
    question = bytes([0, 0, 1, 0, 0, 0, 0, 0, 0, len(name)]) + name.encode() + b"\0\0\1\0\1"
    answered = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.connect(("127.0.0.11", port))
        link.settimeout(2)
        for number in range(count):
            identity = number.to_bytes(2, "big")
            link.send(identity + b"\1" + question)
            try:
                answer = link.recv(512)
            except TimeoutError:
                continue
            answered += answer[:2] == identity and answer[7] == 1
            time.sleep(PAUSE)
    sys.stdout.write(f"answered {answered}\n")
    return int(answered != count)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
