//! The core decides and does nothing.

use super::source::{Source, Token};
use super::{Tree, Violation};

/// Modules of `std` that touch the world.
const WORLD: &[&str] = &["env", "fs", "io", "net", "os", "process", "thread", "time"];
/// Types that read a clock, wherever they come from.
const CLOCKS: &[&str] = &["Instant", "SystemTime"];

/// The core is `no_std`, and its code outside of tests names nothing that touches the world.
pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let mut broken = Vec::new();
    for (path, text) in tree.ending(".rs").filter(|(path, _)| path.starts_with("core/src/")) {
        if path == "core/src/lib.rs" && !text.contains("no_std") {
            broken.push(Violation::of_file(
                path,
                "the core is no_std, so that the compiler keeps it pure",
            ));
        }
        let is_test = path.ends_with("/tests.rs") || path.contains("/tests/");
        let Some(source) = (if is_test { None } else { Source::parse(text) }) else {
            continue;
        };
        let tokens: Vec<&Token> = source.production().collect();
        for (at, token) in tokens.iter().enumerate() {
            let after =
                |steps: usize| tokens.get(at + steps).map_or("", |token| token.text.as_str());
            let is_world = token.text == "std"
                && after(1) == ":"
                && after(2) == ":"
                && (WORLD.contains(&after(3)) || after(3) == "{" || after(3) == "*");
            if is_world || CLOCKS.contains(&token.text.as_str()) {
                let what = "the core touches nothing: take time, chance and identity as arguments";
                broken.push(Violation::at(path, token.line, what));
            }
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_clock_and_the_file() {
        let tree = Tree::of(&[
            ("core/src/lib.rs", "#![no_std]\n"),
            (
                "core/src/a.rs",
                "// std::fs\nuse std::fs;\nfn f(at: Instant) {}\n#[cfg(test)]\nmod tests { use std::fs; }\n",
            ),
            ("core/src/a/tests.rs", "use std::fs;\n"),
            ("agent/src/a.rs", "use std::fs;\n"),
        ]);
        let places: Vec<usize> = check(&tree).into_iter().map(|broken| broken.line).collect();
        assert_eq!(places, [2, 3]);
        assert_eq!(check(&Tree::of(&[("core/src/lib.rs", "mod a;\n")])).len(), 1);
    }
}
