//! A bound that nothing checks is a lie.

use std::collections::BTreeSet;

use super::source::Source;
use super::{Tree, Violation};

/// Every constant of a `limits.rs` is used by production code elsewhere.
pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let mut used = BTreeSet::new();
    for (path, text) in tree.ending(".rs").filter(|(path, _)| !path.ends_with("limits.rs")) {
        if path.ends_with("tests.rs") || path.contains("/tests/") {
            continue;
        }
        let Some(source) = Source::parse(text) else {
            continue;
        };
        used.extend(source.production().map(|token| token.text.clone()));
    }
    let mut broken = Vec::new();
    for (path, text) in tree.ending("limits.rs") {
        let Some(source) = Source::parse(text) else {
            continue;
        };
        for item in &source.file.items {
            let syn::Item::Const(item) = item else {
                continue;
            };
            let name = item.ident.to_string();
            if name != "_" && !used.contains(&name) {
                let line = item.ident.span().start().line;
                let what = format!("nothing enforces `{name}`: use it or remove it");
                broken.push(Violation::at(path, line, what));
            }
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_bound_that_only_a_comment_or_a_test_names() {
        let limits = "pub const A_MAX: u8 = 1;\npub const B_MAX: u8 = 2;\nconst _: () = assert!(A_MAX < B_MAX);\n";
        let user = "// B_MAX\nfn f() -> u8 { A_MAX }\n#[cfg(test)]\nmod tests { fn g() -> u8 { B_MAX } }\n";
        let broken = check(&Tree::of(&[("core/src/limits.rs", limits), ("core/src/a.rs", user)]));
        assert_eq!(broken.len(), 1);
        assert!(broken[0].what.contains("`B_MAX`"));
    }
}
