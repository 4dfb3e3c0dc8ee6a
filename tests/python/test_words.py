"""The README, the pages in docs/, comments, messages and scripts use the words of docs/glossary.md, and sentences that readers
stumbled over stay out. docs/SUMMARY.md has every page, and docs/troubleshooting.md quotes messages that exist."""
import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
GLOSSARY = ROOT / "docs/glossary.md"
SUMMARY = ROOT / "docs/SUMMARY.md"
PAGES = [*sorted(ROOT.glob("docs/*.md")), *(ROOT / name for name in (
    "README.md", "CHANGELOG.md", "THIRD-PARTY.md", "benches/RESULTS.md", "tests/README.md",
    "models/README.md", "models/LICENSE-WEIGHTS.md", "models/training/README.md"))]

# Files whose comments are checked, and whose texts users see. Comments of tests are not checked.
SOURCES = [path for path in (*sorted(ROOT.glob("src/**/*.rs")), *sorted(ROOT.glob("examples/**/*.rs")))
           if "tests" not in path.parts and path.name != "tests.rs"]
SCRIPTS = [path for path in sorted(ROOT.glob("scripts/*")) if path.suffix in ("", ".sh")]
# In comments, a look is a box that a frame needs inferred (docs/glossary.md).
LOOKS = ("look at", "looks at")

# Words of a sentence.
LONGEST = 42

# Phrases that readers stumbled over: a pattern, a sentence that stood in these pages, and what to write.
STUMBLES = [
    (r"(?i)\b(nobody|somebody|anybody|everybody|whoever)\b",
     "There is nobody in it, so nothing should be drawn on it", "name the person: 'no people', 'a person', 'users'"),
    (r"(?i)\b(has|have) not\b(?! (\w+(ed|en|wn|ne|ad|ld|nd|ght)|run)\b)", "GstAnalytics, which Debian 12 has not", "'does not have'"),
    (r"(?i)\bwho(m|se)? have who\b|\bwho cares\b|\bfor who\b", "who cares iterates over them", "name who does it"),
    (r"(?i)\bmust agree in all\b", "They must agree in all that makes it", "'these properties must be equal'"),
    (r"(?i)\bin the place of\b", "a server in the place of this process", "'instead of'"),
    (r"(?i)\b(is|are|was|were) told (of|by)\b|\btells? (how far|which it is)\b", "Live frames are told of by a warning",
     "'a warning reports', 'recognised by'"),
    (r"(?i)\bhears? of\b", "Nobody hears of a find until four more looks agree", "'is reported'"),
    (r"(?i)\bthat is saved afterwards\b", "A new scene is searched at once; that is saved afterwards", "say what is reduced"),
    (r"(?i)\bby the rhythm\b", "by the rhythm of the streams' last frames", "'judging by the recent frame intervals'"),
    (r"(?i)\bmust add for\b", "What a live pipeline must add for the element is", "'the added latency is'"),
    (r"(?i)\bof them spins?\b", "None of them spins", "'idle threads sleep'"),
    (r"(?i)\bso is it by\b", "so is it by those", "repeat the noun"),
    (r"(?i)\bWhat is left is what\b", "What is left is what a network computes", "say who can still do what"),
    (r"(?i)\bborne\b", "a fault that must be borne", "'survived'"),
    (r"(?i)\bfor ever\b", "it waits for ever", "'forever'"),
    (r"(?<=[.;:] )(Of|With|By|In) (more|whom|whose|what)\b", "Of live frames. Of more regions the surest", "begin with the subject"),
    (r"(?i)\bthat rests? (lies?|stands?) still\b", "one-euro: points that rest lie still", "'removes jitter'"),
    (r"(?i)\babove 1 possible\b", "about 0 to 1 being usual, below 0 and above 1 possible", "'can be above 1', 'not a probability'"),
    (r"(?i)\bnothing gets faster\b", "nothing gets faster below 1", "'leave it at 1'"),
    (r"(?i)\bwhose names the\b", "whose names the key points have", "'names the key points'"),
    (r"(?i)\bas long as there (was|is) no(ne|body)\b", "people are searched as long as there was none", "'until the first ... arrives'"),
]


def prose(text):
    """A page's words: without code, comments, targets of links and marks."""
    text = re.sub(r"^( *)```.*?^\1```", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^    .*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"`[^`]*`", "`", text)
    text = re.sub(r"<!-- (?!package:).*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    return text.replace("**", "").replace("*", "")


def sentences(text):
    """The sentences of a page's paragraphs and lists; a colon or a semicolon ends one, too. Tables have none."""
    lines = [line for line in prose(text).splitlines() if not line.lstrip().startswith(("|", "#"))]
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*(?:- |\d+\. ))", "\n".join(lines)):
        yield from re.split(r"(?<=[.:;!?])\s+|(?<=[.:;!?]\))\s+", " ".join(paragraph.split()))


def comments(text):
    """The comments of Rust source, without code in them; blank lines separate comments."""
    lines = []
    for line in text.splitlines():
        comment = re.match(r"\s*//[/!]? ?(.*)", line)
        lines.append(comment[1] if comment else "")
    return "\n".join(lines)


def literals(text):
    """The strings of Rust source with three words or more, before its tests."""
    text = re.sub(r"^\s*//.*$", "", text.split("#[cfg(test)]\nmod tests {")[0], flags=re.MULTILINE)
    strings = re.findall(r'(?<!\')"((?:[^"\\]|\\.)*)"', text, re.DOTALL)
    return [string for string in (re.sub(r"\\\n\s*", "", string) for string in strings) if len(string.split()) > 2]


def script_texts(text):
    """A script's comments, and what it prints."""
    return "\n\n".join(re.findall(r"^\s*# (.*)$", text, re.MULTILINE) + re.findall(r'\b(?:say|fail) "([^"]*)"', text))


def headings(page):
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def glossary():
    """Each term, with the words that it replaces."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in GLOSSARY.read_text().splitlines()
            if line.startswith("| ")]
    return {term: [word.strip() for word in instead.split(",") if word.strip()] for term, _, instead in rows[1:]}


def findings(text, terms):
    """What is wrong with a page's prose: the words, and what to write."""
    words = {word for replaced in terms.values() for word in replaced}
    # A term may contain a word that must not stand alone: a model card.
    for term in terms:
        if words & set(term.split()):
            text = re.sub(rf"\b{re.escape(term)}s?\b", "", text, flags=re.IGNORECASE)
    flat = re.sub(r"\s+", " ", text)
    found = []
    for term, words in terms.items():
        for word in words:
            for match in re.finditer(rf"\b{re.escape(word)}\b", flat, re.IGNORECASE):
                found.append(f"'{word}' (write '{term}'): ...{flat[max(0, match.start() - 40):match.end() + 20]}...")
    for pattern, _, instead in STUMBLES:
        for match in re.finditer(pattern, flat):
            found.append(f"'{match[0]}' ({instead}): ...{flat[max(0, match.start() - 40):match.end() + 20]}...")
    return found


class Words(unittest.TestCase):
    def test_pages_use_the_glossarys_words(self):
        terms = glossary()
        wrong = []
        for page in PAGES:
            text = prose(page.read_text())
            if page == GLOSSARY:
                # Its last column lists words that are not used.
                text = re.sub(r"\|[^|\n]*\|$", "", text, flags=re.MULTILINE)
            wrong += [f"{page.relative_to(ROOT)}: {finding}" for finding in findings(text, terms)]
        self.assertEqual(wrong, [], "\n" + "\n".join(wrong))

    def test_comments_messages_and_scripts_do_so_too(self):
        terms = glossary()
        in_comments = {term: [word for word in words if word not in LOOKS] for term, words in terms.items()}
        wrong = []
        for path in SOURCES:
            text = path.read_text()
            texts = [(comments(text), in_comments)]
            if path.parts[len(ROOT.parts)] == "src":
                texts.append(("\n\n".join(literals(text)), terms))
            wrong += [f"{path.relative_to(ROOT)}: {finding}" for part, terms_of in texts
                      for finding in findings(prose(part), terms_of)]
            # The source calls a model a network, too; messages do not.
            wrong += [f"{path.relative_to(ROOT)}: write 'model': {text}" for text in literals(text)
                      if re.search(r"\bthe network\b|\b(pose|another) network\b|\bnetworks\b", text)]
        for path in SCRIPTS:
            wrong += [f"{path.relative_to(ROOT)}: {finding}" for finding in findings(prose(script_texts(path.read_text())), terms)]
        self.assertEqual(wrong, [], "\n" + "\n".join(wrong))
        self.assertGreater(len(SOURCES), 150)

    def test_what_is_read_of_source_and_scripts(self):
        source = '/// One card.\nlet text = "a card \\\n    fails here"; // no comment\n#[cfg(test)]\nmod tests {\n"of a card here"'
        self.assertEqual(comments(source).split("\n")[0], "One card.")
        self.assertEqual(literals(source), ["a card fails here"])
        script = '#!/usr/bin/env bash\n# A card.\nhas it || fail "no card"\n'
        self.assertEqual(script_texts(script), "A card.\n\nno card")

    def test_the_summary_has_every_page(self):
        linked = [(GLOSSARY.parent / link).resolve() for link in re.findall(r"\]\(([^)]+)\)", SUMMARY.read_text())]
        self.assertEqual(len(linked), len(set(linked)))
        for page in linked:
            self.assertTrue(page.is_file(), page)
        pages = {page for page in PAGES if page.name not in (SUMMARY.name,)}
        self.assertEqual(pages - set(linked), set(), "docs/SUMMARY.md lacks these")

    def test_troubleshooting_quotes_messages_that_exist(self):
        said = "\n".join(re.sub(r"\{[^}]*\}", "key points", string) for path in SOURCES for string in literals(path.read_text()))
        # Messages of GStreamer itself.
        foreign = ("Internal data stream error", "could not link")
        rows = re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs/troubleshooting.md").read_text(), re.MULTILINE)
        self.assertGreater(len(rows), 25)
        for row in rows:
            if row.startswith(foreign):
                continue
            # The message's own words are those between placeholders, numbers and names.
            parts = re.split(r"\.\.\.|\([^)]*\)|\b(?:cuda|cpu|GPU \d|\d[\w.]*|rotate-90|the property|The property skeleton|which)\b|[:%;=/,]", row)
            parts = [part.strip(" `") for part in parts]
            words = next((part for part in parts if len(part.split()) > 2), max(parts, key=len))
            self.assertTrue(words in said, f"{row}: no message has {words!r}")

    def test_sentences_are_short(self):
        long = [f"{page.relative_to(ROOT)}: {sentence}" for page in PAGES for sentence in sentences(page.read_text())
                if len(sentence.split()) > LONGEST]
        self.assertEqual(long, [], "\n" + "\n".join(long))
        self.assertEqual([len(part.split()) for part in sentences("One. Two words:\n- and three words\n\n| a | table |\n")], [1, 2, 4])

    def test_links_name_headings_that_are_there(self):
        links = 0
        for page in PAGES:
            for address, heading in re.findall(r"\]\(([^):#\s]*)#([^)\s]+)\)", page.read_text()):
                target = page.parent / address if address else page
                self.assertIn(heading, headings(target), f"{page.relative_to(ROOT)}: {address}#{heading}")
                links += 1
        self.assertGreater(links, 20)

    def test_each_way_to_stumble_is_noticed(self):
        for pattern, sentence, _ in STUMBLES:
            self.assertRegex(sentence, pattern)
        for words in glossary().values():
            for word in words:
                self.assertTrue(findings(f"Here {word} stands.", glossary()), word)

    def test_what_is_no_prose_is_left_alone(self):
        page = "```sh\nmake card\n```\n`card` <!-- card --> [one](card.md) model card"
        self.assertEqual(findings(prose(page), glossary()), [])
        self.assertTrue(findings(prose("a card\n"), glossary()))

    def test_the_glossary_is_in_order_and_each_term_stands_once(self):
        terms = list(glossary())
        self.assertEqual(terms, sorted(set(terms), key=str.lower))
        self.assertGreater(len(terms), 20)


if __name__ == "__main__":
    unittest.main()
