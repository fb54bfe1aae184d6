//! File names that say nothing about what is inside.

use super::{Tree, Violation};

const BANNED: &[&str] = &[
    "utils", "util", "common", "helper", "helpers", "manager", "misc", "base", "types", "imp",
    "mod",
];

/// No Rust file or folder of Rust files bears a name that fits everything.
pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let mut broken = Vec::new();
    for (path, _) in tree.ending(".rs") {
        for part in path.trim_end_matches(".rs").split('/') {
            if BANNED.contains(&part) {
                broken.push(Violation::of_file(
                    path,
                    format!(
                        "`{part}` fits everything: name the subject (modules are `x.rs` + `x/`)"
                    ),
                ));
            }
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_empty_name() {
        let tree = Tree::of(&[
            ("core/src/queue.rs", ""),
            ("core/src/utils.rs", ""),
            ("agent/src/common/net.rs", ""),
            ("cli/src/view/mod.rs", ""),
            ("docs/utils.md", ""),
        ]);
        let paths: Vec<String> = check(&tree).into_iter().map(|broken| broken.path).collect();
        assert_eq!(paths, ["agent/src/common/net.rs", "cli/src/view/mod.rs", "core/src/utils.rs"]);
    }
}
