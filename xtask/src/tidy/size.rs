//! Files and functions that fit into a head.

use std::collections::{BTreeMap, BTreeSet};

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::source::Source;
use super::{Tree, Violation};

/// Lines of code of a file; comments, blank lines and test modules are free.
const FILE_LINES_MAX: usize = 500;
/// Lines of code of a function's body.
const FUNCTION_LINES_MAX: usize = 70;
/// Functions that are longer still, with the length that each may have: a ratchet.
const LONGER: &str = "xtask/src/tidy/longer-functions.txt";

/// No file has more than [`FILE_LINES_MAX`] lines of code.
pub(crate) fn files(tree: &Tree) -> Vec<Violation> {
    let mut broken = Vec::new();
    for (path, text) in tree.ending(".rs") {
        let Some(source) = Source::parse(text) else {
            continue;
        };
        let lines = source.production_lines().len();
        if lines > FILE_LINES_MAX {
            let what = format!("{lines} lines of code, at most {FILE_LINES_MAX}: split by subject");
            broken.push(Violation::of_file(path, what));
        }
    }
    broken
}

/// No function has more than [`FUNCTION_LINES_MAX`] lines of code, but for those of the ratchet file,
/// which may shrink and not grow.
pub(crate) fn functions(tree: &Tree) -> Vec<Violation> {
    let mut broken = Vec::new();
    let mut allowed = ratchet(tree.text(LONGER).unwrap_or_default());
    for (path, text) in tree.ending(".rs") {
        let Some(source) = Source::parse(text) else {
            continue;
        };
        let mut lengths =
            Lengths { code: source.code_lines(), inside: Vec::new(), found: Vec::new() };
        lengths.visit_file(&source.file);
        for (name, line, length) in lengths.found {
            let key = format!("{path}::{name}");
            let bound = allowed.remove(&key).unwrap_or(FUNCTION_LINES_MAX);
            if length > bound {
                let what = format!("`{name}` has {length} lines of code, at most {bound}: cut it");
                broken.push(Violation::at(path, line, what));
            } else if bound > FUNCTION_LINES_MAX && length < bound {
                let what = format!("`{name}` shrank to {length} lines: say so in {LONGER}");
                broken.push(Violation::at(path, line, what));
            }
        }
    }
    let gone = allowed.into_keys().map(|key| Violation::of_file(LONGER, format!("{key} is gone")));
    broken.extend(gone);
    broken
}

/// Lines `path::function length`; `#` starts a comment.
fn ratchet(text: &str) -> BTreeMap<String, usize> {
    let entries = text.lines().filter(|line| !line.starts_with('#'));
    entries
        .filter_map(|line| {
            let (key, length) = line.rsplit_once(' ')?;
            Some((key.to_owned(), length.parse().ok()?))
        })
        .collect()
}

/// Collects each function with its first line and its length.
struct Lengths {
    code: BTreeSet<usize>,
    inside: Vec<String>,
    found: Vec<(String, usize, usize)>,
}

impl Lengths {
    fn measure(&mut self, name: &syn::Ident, body: &syn::Block) {
        let (first, last) = (body.span().start().line, body.span().end().line);
        // As clippy counts: what stands between the braces.
        let length = self.code.range((first + 1).min(last)..last).count();
        self.inside.push(name.to_string());
        self.found.push((self.inside.join("::"), first, length));
    }
}

impl<'ast> Visit<'ast> for Lengths {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.inside.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.inside.pop();
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let name = match &*item.self_ty {
            syn::Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
            _ => None,
        };
        self.inside.push(name.unwrap_or_else(|| "impl".to_owned()));
        visit::visit_item_impl(self, item);
        self.inside.pop();
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.measure(&item.sig.ident, &item.block);
        visit::visit_item_fn(self, item);
        self.inside.pop();
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.measure(&item.sig.ident, &item.block);
        visit::visit_impl_item_fn(self, item);
        self.inside.pop();
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(body) = &item.default {
            self.measure(&item.sig.ident, body);
            visit::visit_trait_item_fn(self, item);
            self.inside.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(lines: usize) -> String {
        format!(
            "struct A;\nimpl A {{\n    fn f() {{\n{}    }}\n}}\n",
            "        g();\n".repeat(lines)
        )
    }

    #[test]
    fn finds_the_long_file_and_forgives_its_comments_and_tests() {
        let code = "const A: u8 = 1;\n".repeat(500);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{code}}}\n");
        let fits = format!("//! Docs.\n\n// Why.\n{code}{tests}");
        let tree =
            Tree::of(&[("core/src/a.rs", &fits), ("core/src/b.rs", &format!("{fits}struct A;\n"))]);
        let broken = files(&tree);
        assert_eq!(broken.len(), 1);
        assert_eq!(broken[0].path, "core/src/b.rs");
    }

    #[test]
    fn finds_the_long_function() {
        assert_eq!(functions(&Tree::of(&[("a.rs", &function(70))])), []);
        let broken = functions(&Tree::of(&[("a.rs", &function(71))]));
        assert_eq!(broken.len(), 1);
        assert!(broken[0].what.starts_with("`A::f` has 71 lines"), "{broken:?}");
    }

    #[test]
    fn the_ratchet_holds_the_length_it_has_and_forgets_what_is_gone() {
        let at = |lines, ratchet: &str| {
            functions(&Tree::of(&[("a.rs", &function(lines)), (LONGER, ratchet)])).len()
        };
        assert_eq!(at(80, "# why\na.rs::A::f 80\n"), 0);
        assert_eq!(at(81, "a.rs::A::f 80\n"), 1, "it grew");
        assert_eq!(at(79, "a.rs::A::f 80\n"), 1, "it shrank");
        assert_eq!(at(10, "a.rs::A::g 80\n"), 1, "it is gone");
    }
}
