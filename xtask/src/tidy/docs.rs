//! Pages that can be found, and links that lead somewhere.

use std::collections::BTreeSet;

use super::{Tree, Violation};

/// Where a reader starts.
const DOORS: &[&str] = &["README.md", "CONTRIBUTING.md", "CHANGELOG.md"];

/// A link of a page.
struct Link<'a> {
    line: usize,
    target: &'a str,
}

/// Every relative link leads to a file or folder, and its `#anchor` to a heading.
pub(crate) fn links(tree: &Tree) -> Vec<Violation> {
    let mut broken = Vec::new();
    for (path, text) in tree.ending(".md") {
        for link in links_of(text) {
            let (file, anchor) = link.target.split_once('#').unwrap_or((link.target, ""));
            let target = resolve(path, file);
            let page = if file.is_empty() { Some(text) } else { tree.text(&target) };
            if page.is_none() && !tree.has_folder(&target) {
                broken.push(Violation::at(path, link.line, format!("`{file}` leads nowhere")));
            } else if !anchor.is_empty() && !page.is_some_and(|page| has_heading(page, anchor)) {
                broken.push(Violation::at(
                    path,
                    link.line,
                    format!("no heading `#{anchor}` there"),
                ));
            }
        }
    }
    broken
}

/// Every page under `docs/` is reached from a door by links; a link to a folder reaches its pages.
pub(crate) fn reachable(tree: &Tree) -> Vec<Violation> {
    let mut seen = BTreeSet::new();
    let mut next: Vec<String> = DOORS.iter().map(|door| (*door).to_owned()).collect();
    while let Some(path) = next.pop() {
        if tree.text(&path).is_none() && tree.has_folder(&path) {
            let inside = format!("{}/", path.trim_end_matches('/'));
            let pages = tree.ending(".md").filter(|(page, _)| {
                page.strip_prefix(&inside).is_some_and(|rest| !rest.contains('/'))
            });
            next.extend(pages.map(|(page, _)| page.to_owned()));
            continue;
        }
        let Some(text) = tree.text(&path).filter(|_| path.ends_with(".md")) else {
            continue;
        };
        if seen.insert(path.clone()) {
            let files =
                links_of(text).map(|link| link.target.split('#').next().unwrap_or_default());
            next.extend(files.filter(|file| !file.is_empty()).map(|file| resolve(&path, file)));
        }
    }
    tree.ending(".md")
        .filter(|(path, _)| path.starts_with("docs/") && !seen.contains(*path))
        .map(|(path, _)| Violation::of_file(path, "no page links here: nobody will find it"))
        .collect()
}

/// Decision records are named by date, so that two branches never take the same number.
pub(crate) fn records(tree: &Tree) -> Vec<Violation> {
    let is_dated = |name: &str| {
        let (date, topic) = name.split_at_checked(11).unwrap_or((name, ""));
        let shape = date.chars().map(|letter| if letter.is_ascii_digit() { '0' } else { letter });
        shape.eq("0000-00-00-".chars()) && !topic.trim_end_matches(".md").is_empty()
    };
    tree.ending(".md")
        .filter_map(|(path, _)| Some((path, path.strip_prefix("docs/adr/")?)))
        .filter(|(_, name)| !is_dated(name))
        .map(|(path, _)| Violation::of_file(path, "name it docs/adr/YEAR-MONTH-DAY-topic.md"))
        .collect()
}

/// The relative links of a page, outside of code.
fn links_of(text: &str) -> impl Iterator<Item = Link<'_>> {
    let mut in_code = false;
    let prose = (1..).zip(text.lines()).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !in_code && !fence
    });
    prose.flat_map(|(line, content)| {
        content
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
            .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
            .map(move |target| Link { line, target })
    })
}

/// The path from the root that `target` means on the page `from`.
fn resolve(from: &str, target: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join("/")
}

fn has_heading(text: &str, anchor: &str) -> bool {
    text.lines().filter(|line| line.starts_with('#')).any(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|it| it.is_alphanumeric() || matches!(it, ' ' | '-' | '_'));
        kept.map(|it| if it == ' ' { '-' } else { it }).eq(anchor.chars())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_dead_link_and_the_dead_anchor() {
        let tree = Tree::of(&[
            (
                "README.md",
                "[a](docs/a.md) [b](docs/b.md) [c](docs/a.md#the-way-it-is)\n```\n[d](nowhere)\n```\n",
            ),
            (
                "docs/a.md",
                "# The way it is\n[up](../README.md) [no](#other) [web](https://example.org/x)\n",
            ),
        ]);
        let whats: Vec<String> = links(&tree).iter().map(ToString::to_string).collect();
        assert_eq!(
            whats,
            ["README.md:1: `docs/b.md` leads nowhere", "docs/a.md:2: no heading `#other` there"]
        );
    }

    #[test]
    fn finds_the_lonely_page() {
        let tree = Tree::of(&[
            ("README.md", "[a](docs/a.md)"),
            ("docs/a.md", "[records](adr/)"),
            ("docs/adr/2026-01-01-x.md", ""),
            ("docs/b.md", "[a](a.md)"),
        ]);
        let paths: Vec<String> = reachable(&tree).into_iter().map(|broken| broken.path).collect();
        assert_eq!(paths, ["docs/b.md"]);
    }

    #[test]
    fn finds_the_record_without_a_date() {
        let tree = Tree::of(&[("docs/adr/2026-01-01-x.md", ""), ("docs/adr/0001-x.md", "")]);
        assert_eq!(records(&tree).len(), 1);
    }
}
