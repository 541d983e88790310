"""Types of libraries that may not even be installed, known by their names."""


def is_named(value: object, module: str, name: str) -> bool:
    """Whether a class called `name`, from `module` or below it, is among the value's classes.

    Nothing is imported: a value of a library that was never imported does not exist.
    """
    return any(
        base.__name__ == name and f"{base.__module__}.".startswith(f"{module}.")
        for base in type(value).__mro__
    )
