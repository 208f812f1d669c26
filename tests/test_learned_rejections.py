"""What is remembered of refusals, for how long, and what one call may try."""

import msgspec

from lmbroker.call import Backend, Target
from lmbroker.workflows.learned_rejections import (
    MODELS,
    PER_MODEL,
    SECONDS,
    LearnedRejections,
    Repair,
    Repairs,
)

TARGET = Target(backend=Backend(name="b", url="http://b", dialect="openai"), model="m")


def omit(*names):
    return Repair(parameters=names, kinds=frozenset(names), overrides={"omit": names})


def test_a_rejection_holds_for_an_hour_and_for_its_target():
    learned = LearnedRejections()
    other = msgspec.structs.replace(TARGET, model="n")
    learned.learn(TARGET, omit("a"), 100)
    learned.learn(TARGET, omit("b"), 200)
    assert learned.overrides(TARGET, 200) == {"omit": ("a", "b")}
    assert learned.overrides(other, 200) == {}
    assert learned.overrides(TARGET, 100 + SECONDS) == {"omit": ("b",)}
    assert learned.overrides(TARGET, 200 + SECONDS) == {}


def test_the_models_of_a_backend_of_which_something_is_known_are_counted():
    learned = LearnedRejections()
    assert learned.backends(0) == {}
    learned.learn(TARGET, omit("a"), 0)
    learned.learn(TARGET, omit("b"), 1)
    learned.learn(msgspec.structs.replace(TARGET, model="n"), omit("a"), 2)
    assert learned.backends(3) == {"b": 2}
    assert learned.backends(1 + SECONDS) == {"b": 1}
    assert learned.backends(2 + SECONDS) == {}


def test_names_that_clients_make_up_do_not_pile_up():
    learned = LearnedRejections()
    targets = [msgspec.structs.replace(TARGET, model=f"m{n}") for n in range(MODELS + 1)]
    for target in targets:
        learned.learn(target, omit("a"), 0)
    assert learned.overrides(targets[0], 1) == {}
    assert learned.overrides(targets[1], 1) == learned.overrides(targets[-1], 1) != {}


def test_what_one_model_refuses_does_not_pile_up():
    learned = LearnedRejections()
    for place in range(PER_MODEL * 3):
        learned.learn(TARGET, omit(f"a{place}"), 0)
    assert len(learned.overrides(TARGET, 1)["omit"]) == PER_MODEL


def test_what_holds_for_one_call_is_not_remembered():
    learned = LearnedRejections()
    once = Repair(parameters=("s",), kinds=frozenset("s"), once={"replay_signed": False})
    repairs = Repairs(learned, TARGET, {}, 0)
    assert repairs.add(once, "no", 1) is once
    assert repairs.overrides == {"replay_signed": False}
    repairs.succeeded(2)
    assert learned.overrides(TARGET, 3) == {}


def test_a_repair_is_remembered_once_the_next_try_got_further():
    learned = LearnedRejections()
    repairs = Repairs(learned, TARGET, {}, 0)
    repairs.add(omit("a"), "a is not supported", 1)
    assert learned.overrides(TARGET, 1) == {}
    repairs.add(omit("b"), "b is not supported", 2)
    assert learned.overrides(TARGET, 2) == {"omit": ("a",)}
    assert repairs.overrides == {"omit": ("a", "b")}
    repairs.succeeded(3)
    assert learned.overrides(TARGET, 3) == {"omit": ("a", "b")}


def test_a_repair_that_was_of_no_help_is_forgotten():
    learned = LearnedRejections()
    repairs = Repairs(learned, TARGET, {}, 0)
    repairs.add(omit("a"), "no", 1)
    assert repairs.add(omit("b"), "no", 2) is not None
    assert learned.overrides(TARGET, 2) == {}


def test_one_kind_of_repair_is_tried_once():
    repairs = Repairs(LearnedRejections(), TARGET, {}, 0)
    assert repairs.add(omit("a"), "one", 1) is not None
    assert repairs.add(omit("a"), "two", 2) is None


def test_what_the_user_configured_is_never_overridden():
    learned = LearnedRejections()
    configured = {"vision": True, "omit": ("u",)}
    repairs = Repairs(learned, TARGET, configured, 0)
    images = Repair(parameters=("i",), kinds=frozenset("i"), overrides={"vision": False})
    assert repairs.add(images, "no", 1) is None
    assert repairs.overrides == configured
    both = Repair(
        parameters=("i",), kinds=frozenset("i"), overrides={"vision": False, "pdf": False}
    )
    kept = repairs.add(both, "no", 1)
    assert kept is not None
    assert kept.overrides == {"pdf": False}
    repairs.add(omit("a"), "nor that", 2)
    assert repairs.overrides == {"vision": True, "pdf": False, "omit": ("u", "a")}
