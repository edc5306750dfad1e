//! Names and what they mean, read from the sources: variants of an enum and constants, with their doc comments.

/// The text of a file of the repository.
fn source(path: &str) -> String {
    std::fs::read_to_string(super::root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Items that `name` finds in the lines of a text, each with the doc comment above it.
fn documented(text: &str, name: impl Fn(&str) -> Option<String>) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut doc: Vec<&str> = Vec::new();
    let mut in_attribute = false;
    for line in text.lines().map(str::trim) {
        if let Some(words) = line.strip_prefix("///") {
            doc.push(words.trim());
        } else if in_attribute || line.starts_with("#[") {
            in_attribute = !line.ends_with(']');
        } else {
            if let Some(name) = name(line) {
                found.push((name, doc.join(" ")));
            }
            doc.clear();
        }
    }
    found
}

/// The stable names of an enum's variants with their doc comments; a variant's name is what the function that returns
/// `Self::Variant => "Name"` says.
pub fn variants(path: &str, name: &str) -> Vec<(String, String)> {
    let text = source(path);
    let start = text
        .find(&format!("pub enum {name} {{"))
        .unwrap_or_else(|| panic!("{path}: no enum {name}"));
    let body = &text[start..];
    let body = &body[..body.find("\n}").unwrap_or(body.len())];
    let variants = documented(body, |line| {
        let word: String = line.chars().take_while(|c| c.is_alphanumeric()).collect();
        let is_variant = word.starts_with(char::is_uppercase) && line.ends_with(',');
        is_variant.then_some(word)
    });
    let implementation = &text[start..];
    let stable = |variant: &str| {
        implementation.lines().find_map(|line| {
            let rest = line.trim().strip_prefix("Self::")?.strip_prefix(variant)?;
            let (pattern, name) = rest.split_once("=> \"")?;
            let whole = matches!(pattern.trim(), "" | "(_)" | "{ .. }");
            whole.then(|| name.trim_end_matches(['"', ',']).to_owned())
        })
    };
    let variants: Vec<(String, String)> = variants
        .into_iter()
        .map(|(variant, doc)| (stable(&variant).unwrap_or(variant), doc))
        .collect();
    assert!(variants.len() > 2, "{path}: {name} has {variants:?}");
    variants
}

/// The values of a file's public string constants with their doc comments.
pub fn constants(path: &str) -> Vec<(String, String)> {
    let found = documented(&source(path), |line| {
        let (_, value) = line.strip_prefix("pub const ")?.split_once("&str = \"")?;
        Some(value.trim_end_matches("\";").to_owned())
    });
    assert!(!found.is_empty(), "{path}: no constants");
    found
}

#[test]
fn names_and_comments_are_found_also_over_several_lines_and_past_attributes() {
    let text = "/// One\n/// line.\n#[error(\n \"x\"\n)]\nFirst,\nSecond(u16),\n";
    let name = |line: &str| line.ends_with(',').then(|| line.to_owned());
    assert_eq!(
        documented(text, name),
        [
            ("First,".into(), "One line.".into()),
            ("Second(u16),".into(), String::new())
        ]
    );
}
