"""Compares the results of the Autobahn fuzzing client with the expected ones.

    judge.py INDEX EXPECTED          exit 1 on a difference or a verdict that is never accepted
    judge.py --write INDEX EXPECTED  make the results the expected ones, where all are accepted

A result is what the suite calls `behavior` (of the messages) and `behaviorClose` (of the close
handshake). A change in either direction is a difference: it is reviewed like any other change.
"""

import json
import sys

# NON-STRICT is not among them: the frames were right, but the connection failed later than the
# RFC asks for. INFORMATIONAL cases have no right answer.
ACCEPTED = {"OK", "INFORMATIONAL"}


def results(index):
    (cases,) = index.values()
    return {
        name: {"behavior": case["behavior"], "behaviorClose": case["behaviorClose"]}
        for name, case in cases.items()
    }


def in_order(name):
    return [int(part) for part in name.split(".")]


def complaints(found, expected):
    for name in sorted(found.keys() | expected.keys(), key=in_order):
        result = found.get(name)
        if result is None:
            yield f"{name}: did not run, expected {expected[name]}"
        elif not set(result.values()) <= ACCEPTED:
            yield f"{name}: {result}"
        elif name not in expected:
            yield f"{name}: {result}, not among the expected results"
        elif result != expected[name]:
            yield f"{name}: {result}, expected {expected[name]}"


def main(arguments):
    write = arguments[:1] == ["--write"]
    index_path, expected_path = arguments[write:]
    with open(index_path, encoding="utf-8") as file:
        found = results(json.load(file))
    if write:
        expected = dict(sorted(found.items(), key=lambda item: in_order(item[0])))
    else:
        with open(expected_path, encoding="utf-8") as file:
            expected = json.load(file)
    wrong = list(complaints(found, expected))
    for line in wrong:
        print(line)
    informational = sum(case["behavior"] == "INFORMATIONAL" for case in found.values())
    print(f"autobahn: {len(found)} cases, {informational} informational, {len(wrong)} wrong")
    if wrong or not found:
        return 1
    if write:
        with open(expected_path, "w", encoding="utf-8") as file:
            lines = ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in expected.items())
            file.write("{\n" + lines + "\n}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
