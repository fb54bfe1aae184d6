//! Each crate's `Cargo.toml`.

use super::{Tree, Violation};

/// The lines of each section, with their numbers.
fn sections(text: &str) -> Vec<(&str, Vec<(usize, &str)>)> {
    let mut sections = vec![("", Vec::new())];
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_end();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            sections.push((name, Vec::new()));
        } else if let Some((_, lines)) = sections.last_mut() {
            lines.push((number, line));
        }
    }
    sections
}

/// The crates: every manifest but the workspace's.
fn crates(tree: &Tree) -> impl Iterator<Item = (&str, &str)> {
    tree.ending("/Cargo.toml")
}

/// Every crate inherits the workspace's lints.
pub(crate) fn lints(tree: &Tree) -> Vec<Violation> {
    let inherits = |text: &str| {
        sections(text).iter().any(|(name, lines)| {
            *name == "lints" && lines.iter().any(|(_, line)| *line == "workspace = true")
        })
    };
    crates(tree)
        .filter(|(_, text)| !inherits(text))
        .map(|(path, _)| Violation::of_file(path, "add `[lints]` with `workspace = true`"))
        .collect()
}

/// Every version stands in the workspace's manifest, once.
pub(crate) fn versions(tree: &Tree) -> Vec<Violation> {
    let mut broken = Vec::new();
    for (path, text) in crates(tree) {
        for (name, lines) in sections(text) {
            if !name.ends_with("dependencies") {
                continue;
            }
            for (number, line) in lines {
                let is_entry = line.contains('=') && !line.starts_with([' ', '#', ']']);
                if is_entry && !line.contains("workspace = true") {
                    let what = "name the version in the workspace's Cargo.toml and write `.workspace = true`";
                    broken.push(Violation::at(path, number, what));
                }
            }
        }
    }
    broken
}

/// Dependencies are sorted, block by block: two branches that add one seldom meet on a line.
pub(crate) fn sorted(tree: &Tree) -> Vec<Violation> {
    let mut broken = Vec::new();
    for (path, text) in tree.files().filter(|(path, _)| path.ends_with("Cargo.toml")) {
        for (name, lines) in sections(text) {
            if !name.ends_with("dependencies") {
                continue;
            }
            let mut before = "";
            for (number, line) in lines {
                if line.is_empty() {
                    before = "";
                    continue;
                }
                if line.starts_with([' ', '#', ']']) {
                    continue;
                }
                let entry = line.split(['=', '.', ' ']).next().unwrap_or_default();
                if entry < before {
                    let what = format!("`{entry}` belongs before `{before}`");
                    broken.push(Violation::at(path, number, what));
                }
                before = entry;
            }
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = "[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n\n[dependencies]\nb.workspace = true\n\
                         c = { workspace = true, features = [\"x\"] }\n\n[dev-dependencies]\na.workspace = true\n";

    #[test]
    fn finds_the_crate_without_lints() {
        let tree =
            Tree::of(&[("a/Cargo.toml", SOUND), ("b/Cargo.toml", "[package]\nname = \"b\"\n")]);
        let broken = lints(&tree);
        assert_eq!(broken.len(), 1);
        assert_eq!(broken[0].path, "b/Cargo.toml");
    }

    #[test]
    fn finds_the_version_of_its_own() {
        assert_eq!(versions(&Tree::of(&[("a/Cargo.toml", SOUND)])), []);
        let own = SOUND.replace("b.workspace = true", "b = \"1.0\"");
        assert_eq!(versions(&Tree::of(&[("a/Cargo.toml", &own)])).len(), 1);
    }

    #[test]
    fn finds_the_entry_out_of_order() {
        assert_eq!(sorted(&Tree::of(&[("a/Cargo.toml", SOUND)])), []);
        let other = SOUND.replace("b.workspace", "d.workspace");
        assert_eq!(sorted(&Tree::of(&[("a/Cargo.toml", &other)])).len(), 1);
    }
}
