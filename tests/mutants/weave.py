"""Weaves mutants into a file: each function that has some chooses, when it is called, which of its bodies it has. So one
build has all of them, and each costs no more than the tests that come into its function.
"""

import bisect
import re

# What a function returns that has a type of its own in each body, and still can be put into a box.
BOXED = re.compile(r"-> impl ((?:DoubleEnded|ExactSize)?Iterator<.*|Fn(?:Mut)?\(.*)$")


class Function:
    """A function with its mutants, as offsets into the text of its file."""

    def __init__(self, number, span, body, box, mutants):
        self.number, self.span, self.body, self.box, self.mutants = number, span, body, box, mutants


class Text:
    """A file's text, with offsets by line and column."""

    def __init__(self, text):
        self.text = text
        self.begins = [0] + [found.end() for found in re.finditer("\n", text)]

    def offsets(self, span):
        return tuple(self.begins[span[end]["line"] - 1] + span[end]["column"] - 1 for end in ("start", "end"))


def plain(text):
    """The text with comments, strings and characters blanked, each as long as it was."""
    token = re.compile(
        r"""//[^\n]*|/\*.*?\*/|b?r(\#*)".*?"\1|b?"(?:\\.|[^"\\])*"|b?'(?:\\(?:x..|u\{[^}]*\}|.)|[^'\\\n])'""", re.DOTALL
    )
    return token.sub(lambda found: re.sub(r"[^\n]", " ", found.group()), text)


def body_of(code, span):
    """Where the body of a function begins and ends, its braces left out; nothing: it has none that can choose."""
    depth = 0
    for at in range(*span):
        if code[at] in "([":
            depth += 1
        elif code[at] in ")]":
            depth -= 1
        elif code[at] == "{" and depth == 0:
            is_const = re.search(r"\bconst\s+(?:unsafe\s+)?fn\b", code[span[0] : at])
            return None if is_const else (at + 1, span[1] - 1)
    return None


def functions(source, mutants, first_number):
    """The functions of a file with their mutants, the outermost where they are nested, and the mutants that fit in none."""
    text, by_span, apart = Text(source), {}, []
    code = plain(source)
    for mutant in mutants:
        if mutant["function"] is None:
            apart.append(mutant)
            continue
        by_span.setdefault(text.offsets(mutant["function"]["span"]), []).append(mutant)
    found = []
    for span in sorted(by_span, key=lambda span: (span[0], -span[1])):
        own = by_span[span]
        if found and span[1] <= found[-1].span[1]:
            found[-1].mutants += [(text.offsets(one["span"]), one) for one in own]
            continue
        body, returned = body_of(code, span), own[0]["function"]["return_type"]
        box = BOXED.match(returned)
        if body is None or ("impl " in returned and not box):
            apart += own
            continue
        placed = [(text.offsets(one["span"]), one) for one in own]
        found.append(Function(first_number + len(found), span, body, box and box.group(1), placed))
    return found, apart


def woven(source, functions):
    """The text with the functions' mutants in it, and for each of its lines that is a function's the mutant that it is of,
    or none where it is the function's own."""
    pieces, at, line, owner = [], 0, 1, {}

    def put(piece, of=None):
        nonlocal line
        pieces.append(piece)
        ends = line + piece.count("\n")
        if of:
            owner.update((one, of) for one in range(line, ends + 1))
        line = ends

    for function in functions:
        begin, end = function.body
        put(source[at : function.span[0]])
        put(source[function.span[0] : begin], (function, None))
        close = "match crate::seatbeat_mutant::chosen(%d) {\n" % function.number
        put(f"\nlet woven: Box<dyn {function.box} + '_> = {close}" if function.box else "\n" + close, (function, None))
        opening, closing = ("Box::new({", "}),") if function.box else ("{", "}")
        for span, mutant in function.mutants:
            put(f"{mutant['number']} => {opening}\n", (function, mutant))
            put(source[begin : span[0]] + mutant["replacement"] + source[span[1] : end], (function, mutant))
            put(f"\n{closing}", (function, mutant))
            put("\n")
        put(f"_ => {opening}\n")
        put(source[begin:end], (function, None))
        put(f"\n{closing}\n}}{'; woven' if function.box else ''}\n", (function, None))
        at = end
    put(source[at:])
    return "".join(pieces), owner
