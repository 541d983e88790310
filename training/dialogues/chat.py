"""Told facts, small talk, system prompts."""

from __future__ import annotations

from dataclasses import dataclass

from training.dialogues.talk import SELF, UNKNOWN, Talk
from training.dialogues.words import NAMES, long_value


@dataclass(frozen=True)
class Topic:
    """Something that can be told; `{v}` is what is told."""

    kind: str
    tell: tuple[str, ...]
    ack: str
    ask: tuple[str, ...]
    answer: str


TOPICS: dict[str, Topic] = {
    "name": Topic(
        "name",
        ("My name is {v}.", "I am {v}.", "I'm {v}.", "Call me {v}.", "Hi, my name is {v}.",
         "You can call me {v}.", "I am called {v}.", "Hello, I am {v}.", "My name's {v}."),
        "Hello, {v}.",
        ("What is my name?", "Do you know my name?", "Who am I?", "What's my name?",
         "Do you remember my name?", "What am I called?", "Tell me my name."),
        "Your name is {v}.",
    ),
    "word": Topic(
        "word",
        ("Remember the word {v}.", "The word is {v}.", "The secret word is {v}.",
         "Please remember the word {v}.", "Keep the word {v} in mind.", "Note the word {v}.",
         "My word is {v}."),
        "Okay, {v}.",
        ("What is the word?", "What was the word?", "Which word did I tell you?",
         "What word did I tell you?", "What is the secret word?", "Do you remember the word?",
         "Tell me the word."),
        "The word is {v}.",
    ),
    "number": Topic(
        "number",
        ("Remember the number {v}.", "The number is {v}.", "My number is {v}.",
         "Please remember the number {v}.", "Keep the number {v} in mind.", "Note the number {v}."),
        "Okay, {v}.",
        ("What is the number?", "What was the number?", "Which number did I tell you?",
         "What number did I tell you?", "Do you remember the number?", "Tell me the number.",
         "What is my number?"),
        "The number is {v}.",
    ),
    "colour": Topic(
        "colour",
        ("My favourite colour is {v}.", "I like {v} best of all colours.",
         "My favorite color is {v}."),
        "Okay, {v}.",
        ("What is my favourite colour?", "Which colour do I like best?",
         "What's my favourite colour?", "What is my favorite color?",
         "Do you know my favourite colour?"),
        "Your favourite colour is {v}.",
    ),
    "dog": Topic(
        "pet",
        ("My dog is called {v}.", "I have a dog called {v}.", "My dog's name is {v}.",
         "The name of my dog is {v}."),
        "Okay, {v}.",
        ("What is my dog called?", "What is the name of my dog?", "What is my dog's name?",
         "Do you know my dog's name?"),
        "Your dog is called {v}.",
    ),
    "cat": Topic(
        "pet",
        ("My cat is called {v}.", "I have a cat called {v}.", "My cat's name is {v}.",
         "The name of my cat is {v}."),
        "Okay, {v}.",
        ("What is my cat called?", "What is the name of my cat?", "What is my cat's name?",
         "Do you know my cat's name?"),
        "Your cat is called {v}.",
    ),
    "city": Topic(
        "city",
        ("I live in {v}.", "My home is in {v}.", "I am from {v}.", "My city is {v}."),
        "Okay, {v}.",
        ("Where do I live?", "Which city do I live in?", "Where is my home?",
         "What city am I from?", "Do you know where I live?"),
        "You live in {v}.",
    ),
    "food": Topic(
        "food",
        ("My favourite food is {v}.", "I like to eat {v}.", "My favorite food is {v}."),
        "Okay, {v}.",
        ("What is my favourite food?", "What do I like to eat?", "What's my favorite food?",
         "Do you know my favourite food?"),
        "Your favourite food is {v}.",
    ),
    "age": Topic(
        "age",
        ("I am {v} years old.", "My age is {v}.", "I'm {v} years old."),
        "Okay, {v}.",
        ("How old am I?", "What is my age?", "Do you know how old I am?"),
        "You are {v} years old.",
    ),
    "code": Topic(
        "code",
        ("My code is {v}.", "The code is {v}.", "Remember the code {v}.", "Note the code {v}."),
        "Okay, {v}.",
        ("What is the code?", "What is my code?", "Which code did I tell you?",
         "Do you remember the code?"),
        "The code is {v}.",
    ),
    "password": Topic(
        "word",
        ("My password is {v}.", "The password is {v}.", "Remember the password {v}."),
        "Okay, {v}.",
        ("What is the password?", "What is my password?", "Do you remember the password?",
         "Tell me the password."),
        "The password is {v}.",
    ),
    **{
        who: Topic(
            "name",
            (f"My {who} is called {{v}}.", f"My {who} is {{v}}.", f"My {who}'s name is {{v}}.",
             f"The name of my {who} is {{v}}.", f"I have a {who} called {{v}}."),
            "Okay, {v}.",
            (f"What is my {who} called?", f"Who is my {who}?", f"What is the name of my {who}?",
             f"What is my {who}'s name?", f"Do you know my {who}'s name?"),
            f"Your {who} is called {{v}}.",
        )
        for who in ("sister", "brother", "friend", "son", "daughter", "teacher")
    },
    "lucky": Topic(
        "number",
        ("My lucky number is {v}.", "My favourite number is {v}.", "{v} is my lucky number."),
        "Okay, {v}.",
        ("What is my lucky number?", "What's my favourite number?", "Do you know my lucky number?"),
        "Your lucky number is {v}.",
    ),
    "room": Topic(
        "number",
        ("My room is {v}.", "I am in room {v}.", "The room is {v}.", "Remember room {v}."),
        "Okay, {v}.",
        ("Which room is it?", "What is my room?", "Which room am I in?", "What was the room?"),
        "The room is {v}.",
    ),
    "meeting": Topic(
        "time",
        ("The meeting is at {v}.", "My meeting is at {v}.", "We meet at {v}.",
         "The meeting starts at {v}.", "I have a meeting at {v}."),
        "Okay, {v}.",
        ("When is the meeting?", "What time is the meeting?", "At what time do we meet?",
         "When is my meeting?", "When does the meeting start?"),
        "The meeting is at {v}.",
    ),
    "train": Topic(
        "time",
        ("My train leaves at {v}.", "The train leaves at {v}.", "My train is at {v}."),
        "Okay, {v}.",
        ("When does my train leave?", "When does the train leave?", "What time is my train?",
         "When is my train?"),
        "The train leaves at {v}.",
    ),
    "birthday": Topic(
        "month",
        ("My birthday is in {v}.", "I was born in {v}.", "{v} is the month of my birthday."),
        "Okay, {v}.",
        ("When is my birthday?", "In which month is my birthday?", "Which month was I born in?",
         "Do you know when my birthday is?"),
        "Your birthday is in {v}.",
    ),
    "car": Topic(
        "colour",
        ("My car is {v}.", "I have a {v} car.", "The colour of my car is {v}."),
        "Okay, {v}.",
        ("What colour is my car?", "Which colour is my car?", "What is the colour of my car?",
         "What color is my car?"),
        "Your car is {v}.",
    ),
    "project": Topic(
        "word",
        ("My project is called {v}.", "The project is {v}.", "The name of my project is {v}."),
        "Okay, {v}.",
        ("What is my project called?", "What is the project?", "What is the name of my project?"),
        "Your project is called {v}.",
    ),
}  # fmt: skip
_WEIGHTS = {"name": 3.0, "word": 3.0, "number": 3.0}
_LONG = ("name", "word", "number", "city", "food")


def tell_fact(talk: Talk) -> bool:
    """Tell something, or two things at once; the answer repeats it."""
    rng = talk.rng
    one, two = _news(talk), _news(talk)
    if one[0] in talk.facts:
        return False
    if rng.random() < 0.12 and two[0] not in (*talk.facts, one[0]):
        return _tell_two(talk, one, two)
    name, v = one
    talk.facts[name] = v
    talk.say("tell", rng.choice(TOPICS[name].tell), TOPICS[name].ack.format(v=v), v=v)
    return True


def _news(talk: Talk) -> tuple[str, str]:
    """A topic and what might be told of it, now and then something long."""
    rng = talk.rng
    name = rng.choices(list(TOPICS), [_WEIGHTS.get(name, 1.0) for name in TOPICS])[0]
    kind = TOPICS[name].kind
    long = kind == "code" or (kind in _LONG and rng.random() < 0.2)
    return name, long_value(rng, kind, talk.held_out) if long else talk.value(kind)


def _tell_two(talk: Talk, one: tuple[str, str], two: tuple[str, str]) -> bool:
    rng = talk.rng
    talk.facts.update((one, two))
    first = rng.choice(TOPICS[one[0]].tell)
    second = rng.choice([text for text in TOPICS[two[0]].tell if not text.startswith("H")])
    second = second.replace("{v}", "{w}")
    if rng.random() < 0.7:
        first = first.rstrip(".") + rng.choice((" and", ", and", ","))
        if not second.startswith(("I ", "I'", "{")):
            second = second[0].lower() + second[1:]
    v, w = one[1], two[1]
    talk.say("tell", f"{first} {second}", f"Okay, {v} and {w}.", v=v, w=w)
    return True


def ask_fact(talk: Talk) -> bool:
    """Ask for something that was told, or never was."""
    rng = talk.rng
    told = list(talk.facts)
    if not told and rng.random() < 0.6:
        return tell_fact(talk)
    if told and rng.random() < 0.62:
        name = rng.choice(told)
        topic = TOPICS[name]
        talk.say("told", rng.choice(topic.ask), topic.answer.format(v=talk.facts[name]))
        return True
    untold = [name for name in TOPICS if name not in talk.facts]
    if not untold:
        return False
    talk.say("unknown", rng.choice(TOPICS[rng.choice(untold)].ask), UNKNOWN)
    return True


_CHAT: tuple[tuple[tuple[str, ...], str], ...] = (
    (("Hello.", "Hi!", "Hey.", "Hello there!", "Hi there."), "Hello!"),
    (("How are you?", "How do you do?", "How are you today?", "Are you well?"),
     "I am fine, thank you."),
    (("Thanks.", "Thank you!", "Thanks a lot.", "Thank you very much."), "You are welcome."),
    (("Bye.", "Goodbye!", "See you.", "See you later!", "Bye bye."), "Goodbye!"),
    (("Good morning.", "Good morning!"), "Good morning!"),
    (("Well done!", "Very good.", "Great!", "That is right.", "Correct.", "Nice."), "Thank you."),
)  # fmt: skip
_SELF = (
    "Who are you?", "What are you?", "What can you do?", "What do you know?", "Are you a robot?",
    "Are you a human?", "Help", "What can I ask you?", "Are you an AI?", "Tell me about yourself.",
    "Which model are you?", "What model is this?",
)  # fmt: skip
_REST = (
    "What is the capital of {place}?", "Write a poem about {thing}.", "Who wrote {thing}?",
    "Tell me a joke.", "What is {n} plus {m}?", "What is {n} times {m}?", "How does {thing} work?",
    "What is the weather like today?", "Write a Python function that sorts a list.",
    "Translate {thing} into French.", "What time is it?", "Explain {thing} to me.",
    "Who is the president of {place}?", "What is the meaning of life?", "Tell me a story.",
    "How far is {place}?", "What day is it today?", "Sing a song about {thing}.",
    "Can you write code?", "Do you like {thing}?", "Summarise this text: {thing}.",
    "What do you think about {thing}?", "Why is the sky blue?", "How tall is {thing}?",
    "Where is {place}?", "Who invented {thing}?", "Give me a recipe for {thing}.",
    "What is the best {thing}?", "Solve x + {n} = {m}.", "Is {place} a big city?", "{n}+{m}?",
    "What is {n}+{m}?", "How many {thing} are there in {place}?", "Who won the {thing} cup?",
    "How many legs has a {thing}?", "When was {place} built?", "What is a {thing}?",
)  # fmt: skip


def chat(talk: Talk) -> bool:
    """Small talk, and what this model cannot talk about."""
    rng = talk.rng
    draw = rng.random()
    if draw < 0.15:
        return own_name(talk)
    if draw < 0.45:
        questions, answer = rng.choice(_CHAT)
        talk.say("chat", rng.choice(questions), answer)
    elif draw < 0.6:
        talk.say("self", rng.choice(_SELF), SELF)
    else:
        talk.say("self", rng.choice(_REST), SELF, place=talk.value("city"),
                 thing=talk.value(rng.choice(("word", "food"))),
                 n=str(rng.randint(1, 99)), m=str(rng.randint(1, 99)))  # fmt: skip
    return True


def own_name(talk: Talk) -> bool:
    """The model's name: a system prompt sets it, or it has none."""
    prompted = any(message.role == "system" for message in talk.dialogue.messages)
    # Mostly where it might have been set.
    if not prompted and talk.rng.random() < 0.7:
        return False
    question = talk.rng.choice((
        "What is your name?", "What's your name?", "What are you called?", "Do you have a name?",
        "Tell me your name.", "Do you have a name, and what is it?", "What shall I call you?",
    ))  # fmt: skip
    talk.say("name", question, f"My name is {talk.name}." if talk.name else "I have no name.")
    return True


_TONES: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("Arr! ",
     ("Talk like a pirate.", "Speak like a pirate.", "Answer like a pirate."),
     ("a pirate", "an old pirate", "a friendly pirate", "a pirate captain")),
    ("Certainly. ",
     ("Be formal.", "Answer formally.", "Answer very politely.", "Be very polite."),
     ("a butler", "a very polite butler", "a formal assistant", "a formal butler")),
    ("Yay! ",
     ("Be cheerful.", "Answer cheerfully.", "You are always happy.", "Sound excited."),
     ("a cheerful assistant", "a very happy assistant", "a cheerful robot")),
)  # fmt: skip
"""What an answer begins with, prompts for it, and who talks so."""
_NAMING = (
    "Your name is {v}.",
    "You are {v}.",
    "You are called {v}.",
    "You are an assistant called {v}.",
)
_PLAIN = (
    "You are a helpful assistant.", "Answer the questions.", "You look at pictures.",
    "Be helpful.", "Answer briefly.", "You are a helpful and honest assistant.",
    "You are an assistant.", "You are a teacher.", "You are a patient teacher.", "Be concise.",
    "You are an expert in geometry.", "You describe pictures.", "Keep your answers short.",
    "You are a vision model.", "Use few words.", "You help people with pictures.",
    "You are a friendly assistant.", "You are a scientist.", "Look at the pictures closely.",
)  # fmt: skip
_NAMING_BOTH = (
    "You are {v}, {who}.", "You are {who} called {v}.", "Your name is {v} and you are {who}.",
    "You are {who}. Your name is {v}.", "You are {who} named {v}.",
)  # fmt: skip


def begin(talk: Talk) -> None:
    """Some dialogues have a system prompt; some of those set the model's name or tone."""
    rng = talk.rng
    if rng.random() > 0.35:
        return
    texts: list[str] = []
    if rng.random() < 0.2:
        talk.tone, _, whos = rng.choice(_TONES)
        talk.name = talk.value("name")
        talk.system(rng.choice(_NAMING_BOTH).format(v=talk.name, who=rng.choice(whos)))
        return
    if rng.random() < 0.25:
        texts += rng.sample(_PLAIN, rng.choice((1, 1, 2)))
    if rng.random() < 0.5:
        talk.name = talk.value("name") if rng.random() < 0.5 else rng.choice(NAMES)
        texts.append(rng.choice(_NAMING).format(v=talk.name))
    if rng.random() < 0.45:
        talk.tone, orders, whos = rng.choice(_TONES)
        texts.append(rng.choice((*orders, *(f"You are {who}." for who in whos))))
    if texts:
        talk.system(" ".join(texts))
