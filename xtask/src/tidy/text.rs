//! Leftovers of work that was not finished.

use super::source::Source;
use super::{Tree, Violation};

/// Words that announce unfinished work, each in two halves, so that this file does not hold them.
const WORDS: &[(&str, &str)] =
    &[("TO", "DO"), ("FIX", "ME"), ("XX", "X"), ("HA", "CK"), ("for", " now"), ("place", "holder")];
/// Macros that are for the hour of writing.
const MACROS: &[&str] = &["dbg", "todo", "unimplemented"];

/// No word or macro of unfinished work stands anywhere.
pub(crate) fn leftovers(tree: &Tree) -> Vec<Violation> {
    let words: Vec<String> =
        WORDS.iter().map(|(first, second)| format!("{first}{second}")).collect();
    let mut broken = Vec::new();
    for (path, text) in tree.files() {
        for (line, content) in (1..).zip(text.lines()) {
            for word in words.iter().filter(|word| has_word(content, word)) {
                let what = format!("`{word}`: finish it, or write down what is missing and why");
                broken.push(Violation::at(path, line, what));
            }
        }
        let Some(source) = rust(path, text) else {
            continue;
        };
        for pair in source.tokens.windows(2) {
            if MACROS.contains(&pair[0].text.as_str()) && pair[1].text == "!" {
                let what = format!("`{}!` is for the hour of writing", pair[0].text);
                broken.push(Violation::at(path, pair[0].line, what));
            }
        }
    }
    broken
}

/// No test is switched off: repair it or remove it.
pub(crate) fn ignored_tests(tree: &Tree) -> Vec<Violation> {
    let mut broken = Vec::new();
    for (path, text) in tree.ending(".rs") {
        let Some(source) = rust(path, text) else {
            continue;
        };
        for three in source.tokens.windows(3) {
            if three[0].text == "#" && three[1].text == "[" && three[2].text == "ignore" {
                let what = "a test that is switched off proves nothing: repair it or remove it";
                broken.push(Violation::at(path, three[2].line, what));
            }
        }
    }
    broken
}

fn rust(path: &str, text: &str) -> Option<Source> {
    if path.ends_with(".rs") { Source::parse(text) } else { None }
}

fn has_word(line: &str, word: &str) -> bool {
    let is_letter =
        |letter: Option<char>| letter.is_some_and(|it| it.is_alphanumeric() || it == '_');
    line.match_indices(word).any(|(at, _)| {
        !is_letter(line[..at].chars().next_back())
            && !is_letter(line[at + word.len()..].chars().next())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_words_in_any_text_and_macros_in_code_alone() {
        let note = ["# a FIX", "ME here\nXX", "XX is a template"].concat();
        let tree = Tree::of(&[
            ("docs/a.md", &note),
            ("core/src/a.rs", "// todo!() in a comment is a comment\nfn f() {\n    dbg!(1);\n}\n"),
        ]);
        let places: Vec<(String, usize)> =
            leftovers(&tree).into_iter().map(|broken| (broken.path, broken.line)).collect();
        assert_eq!(places, [("core/src/a.rs".to_owned(), 3), ("docs/a.md".to_owned(), 1)]);
    }

    #[test]
    fn finds_the_test_that_is_switched_off() {
        let file = "#[test]\n#[ignore = \"slow\"]\nfn f() {}\n// #[ignore]\n";
        let broken = ignored_tests(&Tree::of(&[("core/src/a.rs", file)]));
        assert_eq!(broken.len(), 1);
        assert_eq!(broken[0].line, 2);
    }
}
