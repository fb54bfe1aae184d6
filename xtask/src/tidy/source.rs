//! A Rust file as its tokens and their lines: comments and blank lines have none.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::spanned::Spanned;

/// One token that is not part of a doc comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    /// Its text; groups are split into their delimiters and contents.
    pub(crate) text: String,
    /// The line that it starts on, from 1.
    pub(crate) line: usize,
    /// The line that it ends on: multi-line strings are code.
    pub(crate) last_line: usize,
}

/// A parsed file.
pub(crate) struct Source {
    /// The tokens in order.
    pub(crate) tokens: Vec<Token>,
    /// The syntax tree.
    pub(crate) file: syn::File,
    test_lines: BTreeSet<usize>,
}

impl Source {
    /// Parses a file; nothing when the compiler would refuse it, which is the compiler's business.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let stream: TokenStream = text.parse().ok()?;
        let file = syn::parse_file(text).ok()?;
        let mut tokens = Vec::new();
        flatten(stream, &mut tokens);
        let mut test_lines = BTreeSet::new();
        for item in &file.items {
            if attributes(item).iter().any(is_cfg_test) {
                let span = item.span();
                test_lines.extend(span.start().line..=span.end().line);
            }
        }
        Some(Self { tokens, file, test_lines })
    }

    /// The tokens outside of test modules.
    pub(crate) fn production(&self) -> impl Iterator<Item = &Token> {
        self.tokens.iter().filter(|token| !self.test_lines.contains(&token.line))
    }

    /// The lines with code, test modules left out.
    pub(crate) fn production_lines(&self) -> BTreeSet<usize> {
        lines(self.production())
    }

    /// The lines with code.
    pub(crate) fn code_lines(&self) -> BTreeSet<usize> {
        lines(self.tokens.iter())
    }
}

fn lines<'a>(tokens: impl Iterator<Item = &'a Token>) -> BTreeSet<usize> {
    tokens.flat_map(|token| token.line..=token.last_line).collect()
}

fn flatten(stream: TokenStream, into: &mut Vec<Token>) {
    let trees: Vec<TokenTree> = stream.into_iter().collect();
    let mut at = 0;
    while let Some(tree) = trees.get(at) {
        let doc_comment = doc_comment_length(&trees[at..]);
        if doc_comment > 0 {
            at += doc_comment;
            continue;
        }
        at += 1;
        if let TokenTree::Group(group) = tree {
            let (open, close) = match group.delimiter() {
                Delimiter::Parenthesis => ("(", ")"),
                Delimiter::Brace => ("{", "}"),
                Delimiter::Bracket => ("[", "]"),
                Delimiter::None => ("", ""),
            };
            let (first, last) = (group.span_open().start().line, group.span_close().end().line);
            into.push(Token { text: open.to_owned(), line: first, last_line: first });
            flatten(group.stream(), into);
            into.push(Token { text: close.to_owned(), line: last, last_line: last });
        } else {
            let span = tree.span();
            let (line, last_line) = (span.start().line, span.end().line);
            into.push(Token { text: tree.to_string(), line, last_line });
        }
    }
}

/// How many token trees at the front are one doc comment: `#`, perhaps `!`, `[doc = "..."]`.
fn doc_comment_length(trees: &[TokenTree]) -> usize {
    let is = |tree: Option<&TokenTree>, mark: char| matches!(tree, Some(TokenTree::Punct(punct)) if punct.as_char() == mark);
    if !is(trees.first(), '#') {
        return 0;
    }
    let group = if is(trees.get(1), '!') { 2 } else { 1 };
    let Some(TokenTree::Group(attribute)) = trees.get(group) else {
        return 0;
    };
    let mut words = attribute.stream().into_iter();
    let is_doc = matches!(words.next(), Some(TokenTree::Ident(name)) if name == "doc")
        && is(words.next().as_ref(), '=');
    if is_doc { group + 1 } else { 0 }
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        _ => &[],
    }
}

fn is_cfg_test(attribute: &syn::Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute.parse_args::<syn::Ident>().is_ok_and(|argument| argument == "test")
}

#[cfg(test)]
mod tests {
    use super::Source;

    const FILE: &str = "//! Docs.\n\n/// More docs.\n#[derive(Debug)]\nstruct A; // trailing\n/* block\n comment */\n\
                        const TEXT: &str = \"one\ntwo\";\n#[cfg(test)]\nmod tests {\n    fn f() {}\n}\n";

    #[test]
    fn comments_and_blank_lines_are_no_code_and_strings_are() {
        let source = Source::parse(FILE).unwrap();
        assert_eq!(Vec::from_iter(source.production_lines()), [4, 5, 8, 9]);
        assert_eq!(Vec::from_iter(source.code_lines()), [4, 5, 8, 9, 10, 11, 12, 13]);
    }
}
