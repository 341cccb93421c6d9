"""What an app needs, for `parsl-context discover`."""

import json

import numpy as np

from parsl_context import context, context_app

WEIGHTS = np.linspace(0.0, 1.0, 2_000_000)


@context
def vocabulary(path):
    import yaml_of_mine  # a module that is not here

    with open(path) as file:
        return yaml_of_mine.read(file)


@context_app(context=vocabulary("words.yaml"))
def score(words, text):
    found = [words[word] for word in text.split() if word in words]
    return json.dumps(float(WEIGHTS[found].sum()))


if __name__ == "__main__":
    print(*score.requirements(), sep="\n")  # a requirements.txt for the nodes
