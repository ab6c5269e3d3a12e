"""
Vowels, found by a hidden Markov model
======================================

A model with two hidden states reads English words letter by letter. It is told nothing about
letters, and trained to make the words likely. Its states turn out to be vowels and consonants, as
R. L. Cave and L. P. Neuwirth found in *Hidden Markov Models for English* (1980). The words are from
the help texts that Python ships; each is a sample, and each letter a timestep.
"""

import re
from pydoc_data.topics import topics

import numpy as xp
from array_api_compat import array_namespace

from arrayrnn import pad_sequences, rnn, unpad_sequences

ALPHABET = "abcdefghijklmnopqrstuvwxyz"
found = re.findall(r"(?<=\s)[a-z]{2,}(?=[\s,.])", " ".join(topics.values()))
shown = ["hidden", "states", "tell", "vowels", "from", "consonants"]
words = [*sorted(set(found)), *shown]
letters, lengths = pad_sequences([xp.asarray([ALPHABET.index(c) for c in w]) for w in words])

# %%
# The forward step is given how likely each state is before the letter, ``prior``, and how likely
# the letter is in each state, ``seen``. The sum of their products is the probability of the letter
# after those before it; divided by it, nothing underflows. The backward step carries what the
# letters to come say about each state, as a factor. (:doc:`/guide/associative_scan` has the forward
# algorithm without a loop.)


def forwards(seen, states):
    prior, transitions = states
    xp = array_namespace(seen)
    joint = prior * seen  # (samples, states)
    scale = xp.sum(joint, axis=1, keepdims=True)
    now = joint / scale
    return {"now": now, "scale": scale, "log": xp.log(scale)}, [now @ transitions]


def backwards(inputs, states):
    rest, transitions = states
    entered = inputs["seen"] * rest / inputs["scale"]
    return {"rest": rest, "entered": entered}, [entered @ transitions.T]


# %%
# Training (Baum–Welch) runs both, counts how often each state is expected (at the start, with each
# letter, after each state), and makes the counts the next probabilities. The first guess is that
# one state has more of A to M, the other of N to Z, and that they tend to take turns; other guesses
# may end in a worse maximum. Padding is kept from the backward step, which would divide by zero
# there (``samplewise``), and out of the sums (``zero_output_for_mask``): see :doc:`/guide/masks`.
# With ``go_backwards`` each word begins with its own last letter: see :doc:`/guide/directions`.

tilt = xp.linspace(-0.5, 0.5, 26)
emissions = xp.stack([1 - tilt, 1 + tilt], axis=1) / 26
initial, transitions = xp.asarray([0.5, 0.5]), xp.asarray([[0.3, 0.7], [0.7, 0.3]])
one_hot, log_likelihoods = xp.eye(26)[letters], []
masked = {"input_length": lengths, "samplewise": True, "zero_output_for_mask": True}
for _ in range(30):
    seen = emissions[letters]  # (samples, time, states)
    start = xp.zeros_like(seen[:, 0]) + initial
    _, past, _ = rnn(forwards, seen, [start], constants=[transitions], **masked)
    inputs, ones = {"seen": seen, "scale": past["scale"]}, [xp.ones_like(start)]
    _, future, _ = rnn(
        backwards, inputs, ones, constants=[transitions], go_backwards=True, **masked
    )
    rest, entered = (xp.flip(future[name], axis=1) for name in ("rest", "entered"))

    log_likelihoods.append(float(xp.sum(past["log"]) / xp.sum(lengths)))
    expected = past["now"] * rest
    initial = xp.mean(expected[:, 0], axis=0)
    emissions = xp.tensordot(one_hot, expected, axes=([0, 1], [0, 1]))
    emissions = emissions / xp.sum(emissions, axis=0)
    pairs = xp.tensordot(past["now"][:, :-1], entered[:, 1:], axes=([0, 1], [0, 1]))
    transitions = transitions * pairs / xp.sum(transitions * pairs, axis=1, keepdims=True)

assert log_likelihoods == sorted(log_likelihoods)  # training never makes it fall
print(f"log-likelihood per letter: {log_likelihoods[0]:.3f} to {log_likelihoods[-1]:.3f}")

# %%
# The likeliest states of a word (Viterbi) take two passes, too: the probability of the best way to
# each state, and the way back from the best end. Sequences of hundreds of letters need logarithms.


def best_ways(seen, states):
    before, transitions = states
    best = before * seen
    return best, [array_namespace(seen).max(best[..., None] * transitions, axis=1)]


def way_back(best, states):
    onwards, transitions = states
    xp = array_namespace(best)
    state = xp.argmax(best * onwards, axis=1)
    return state, [xp.take(transitions.T, state, axis=0)]


seen, start = emissions[letters], xp.zeros_like(start) + initial
_, best, _ = rnn(best_ways, seen, [start], constants=[transitions], **masked)
_, back, _ = rnn(way_back, best, ones, constants=[transitions], go_backwards=True, **masked)
ways = unpad_sequences(xp.flip(back, axis=1), lengths)[-len(shown) :]

# %%
# Letters come in the order in which the states differ. A consonant among consonants may pass for a
# vowel: the model knows no more than what follows what.

import matplotlib.pyplot as plt

order = sorted(range(26), key=lambda k: float(emissions[k, 1] - emissions[k, 0]))
colours, ratios = ["#dd7e12", "#5b86b3"], [32, 16, 8]
figure, axes = plt.subplots(3, figsize=(8, 4.5), height_ratios=ratios, layout="constrained")
for state, bars in enumerate(axes[:2]):
    bars.bar(range(26), 100 * emissions[order, state], color=colours[state])
    bars.set(xlim=(-0.6, 25.6), xticks=[], yticks=range(0, 31 - 20 * state, 10))
    bars.set_ylabel("letters [%]", size=12)
axes[0].set_xticks(range(26), [ALPHABET[k] for k in order], size=14)
axes[0].text(25.5, 25, "one hidden state", color=colours[0], size=16, ha="right")
axes[1].text(-0.4, 10, "the other", color=colours[1], size=16)
axes[1].invert_yaxis()
axes[1].spines.bottom.set_visible(False)
axes[2].axis("off")
axes[2].margins(0)
place = 0
for word, way in zip(shown, ways, strict=True):
    for letter, state in zip(word, way, strict=True):
        axes[2].bar(place, 1, width=1, color=colours[int(state)])
        axes[2].text(place, 0.45, letter, size=14, ha="center", va="center", clip_on=True)
        place += 1
    place += 1

# %%
# On a GPU
# --------
#
# Write ``import cupy as xp`` at the top, and ``emissions = emissions.get()`` before the figure. It
# takes more words, or more states, to make that worthwhile.
