//! Checks a value against a JSON schema, for the keywords that `schemars` writes here. (The crates for it change the
//! features of a dozen dependencies, so that everything is built twice: once for the tests, once for the program.)

use serde_json::{Map, Value};

/// Keywords that say nothing about which values are valid.
const ANNOTATIONS: [&str; 6] = [
    "$schema",
    "$defs",
    "title",
    "description",
    "default",
    "format",
];

/// Checks `value` against the part `schema` of `root`.
///
/// # Errors
/// The first place that does not match, and the keyword that it does not match.
///
/// # Panics
/// When the schema has a keyword that this does not know.
pub fn check(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let Value::Object(schema) = schema else {
        panic!("{schema} is no schema");
    };
    for (keyword, wanted) in schema {
        let matches = match keyword.as_str() {
            name if ANNOTATIONS.contains(&name) => true,
            "$ref" => {
                let pointer = wanted.as_str().expect("a pointer");
                let target = root.pointer(&pointer[1..]).expect("the target is there");
                check(root, target, value)?;
                true
            }
            "type" => match wanted {
                Value::Array(types) => types.iter().any(|name| is_of_type(value, name)),
                name => is_of_type(value, name),
            },
            "const" => value == wanted,
            "enum" => list(wanted).contains(value),
            "oneOf" => matching(root, wanted, value) == 1,
            "anyOf" => matching(root, wanted, value) > 0,
            "minItems" => items(value).is_none_or(|count| Some(count) >= wanted.as_u64()),
            "maxItems" => items(value).is_none_or(|count| Some(count) <= wanted.as_u64()),
            "minimum" => value.as_f64().is_none_or(|v| Some(v) >= wanted.as_f64()),
            "required" => value
                .as_object()
                .is_none_or(|fields| has_all(fields, list(wanted))),
            "items" => {
                let items = value.as_array().into_iter().flatten();
                items
                    .into_iter()
                    .try_for_each(|item| check(root, wanted, item))?;
                true
            }
            "properties" => {
                for (name, wanted) in wanted.as_object().expect("fields by name") {
                    if let Some(field) = value.get(name) {
                        check(root, wanted, field).map_err(|e| format!("{name}: {e}"))?;
                    }
                }
                true
            }
            "additionalProperties" => {
                assert_eq!(*wanted, Value::Bool(false));
                let known = schema.get("properties").and_then(Value::as_object);
                let fields = value.as_object().into_iter().flatten();
                let mut names = fields.map(|(name, _)| name);
                names.all(|name| known.is_some_and(|known| known.contains_key(name)))
            }
            unknown => panic!("a schema with {unknown}"),
        };
        if !matches {
            return Err(format!("{value} does not match {keyword}: {wanted}"));
        }
    }
    Ok(())
}

fn items(value: &Value) -> Option<u64> {
    value.as_array().map(|items| items.len() as u64)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn matching(root: &Value, schemas: &Value, value: &Value) -> usize {
    let schemas = list(schemas).iter();
    schemas.filter(|s| check(root, s, value).is_ok()).count()
}

fn has_all(fields: &Map<String, Value>, names: &[Value]) -> bool {
    let mut names = names.iter().filter_map(Value::as_str);
    names.all(|name| fields.contains_key(name))
}

fn is_of_type(value: &Value, name: &Value) -> bool {
    match name.as_str().expect("a name") {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        unknown => panic!("a schema with the type {unknown}"),
    }
}
