//! What a training that is resumed may not change.

use serde_json::Value;

use super::augmentation;
use super::options::Options;
use crate::Result;

/// Checks that a training goes on with the options that it had. It may have more epochs.
///
/// # Errors
/// When another option differs.
pub fn check_unchanged(asked: &Options, saved: &Options) -> Result<()> {
    let [asked, saved] = [asked, saved].map(serde_json::to_value);
    let (asked, saved) = (asked?, saved?);
    let values = |options: &Value| options.as_object().cloned().unwrap_or_default();
    let saved = values(&saved);
    let differs =
        |(name, value): &(String, Value)| *name != "epochs" && saved.get(name) != Some(value);
    let Some((name, asked)) = values(&asked).into_iter().find(differs) else {
        return Ok(());
    };
    let of = |value: Option<&Value>| match value {
        Some(value) if name == "augment" => augmentation::described(value),
        None | Some(Value::Null) => "none".into(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    };
    Err(format!(
        "--resume: --{} differs from the saved training: asked for {}, saved is {}. Leave it out to continue as before, \
         or start anew with --overwrite.",
        name.replace('_', "-"),
        of(Some(&asked)),
        of(saved.get(&name))
    )
    .into())
}
