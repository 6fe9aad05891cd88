//! The file of a network with only what differs from the defaults.

use burn_skip::net::NetConfig;
use serde_json::{Value, json};

use crate::Result;

/// The shortest file that is read as `net`.
pub fn short(net: &NetConfig) -> Result<Value> {
    let full = serde_json::to_value(net)?;
    let mut file = full.clone();
    if let Some(sugared) = with_widths(&full).filter(|file| is_read_as(file, &full)) {
        file = sugared;
    }
    prune(&mut file, "", &full);
    Ok(file)
}

/// A U-Net on a plain encoder, which is given by `in_channels` and `widths`.
fn with_widths(full: &Value) -> Option<Value> {
    let mut unet = full.get("Unet")?.as_object()?.clone();
    let encoder = unet.remove("encoder")?;
    let plain = encoder.get("Plain")?;
    unet.insert("in_channels".into(), plain.get("in_channels")?.clone());
    unet.insert("widths".into(), plain.get("widths")?.clone());
    Some(json!({ "Unet": unet }))
}

/// Whether the file is read as the network of the full one.
fn is_read_as(file: &Value, full: &Value) -> bool {
    let read = serde_json::from_value::<NetConfig>(file.clone());
    read.is_ok_and(|net| serde_json::to_value(net).is_ok_and(|read| read == *full))
}

/// Removes every field at the JSON pointer `at` and below without which the file is read as the same network.
fn prune(file: &mut Value, at: &str, full: &Value) {
    let keys: Vec<String> = match file.pointer(at) {
        Some(Value::Object(fields)) => fields.keys().cloned().collect(),
        Some(Value::Array(items)) => (0..items.len()).map(|index| index.to_string()).collect(),
        _ => return,
    };
    for key in keys {
        let fields = file.pointer_mut(at).and_then(Value::as_object_mut);
        let removed = fields.and_then(|fields| fields.remove(&key));
        if let Some(removed) = removed {
            if is_read_as(file, full) {
                continue;
            }
            if let Some(fields) = file.pointer_mut(at).and_then(Value::as_object_mut) {
                fields.insert(key.clone(), removed);
            }
        }
        prune(file, &format!("{at}/{key}"), full);
    }
}

#[cfg(test)]
mod tests {
    use super::super::template::Template;
    use super::*;
    use burn_skip::net::UnetConfig;
    use clap::ValueEnum;

    #[test]
    fn a_unet_of_defaults_is_three_numbers() {
        let net = NetConfig::Unet(UnetConfig::new(1, 1, vec![16, 32, 64]));
        let file = short(&net).expect("it is written");
        let wanted = json!({"Unet": {"in_channels": 1, "widths": [16, 32, 64], "out_channels": 1}});
        assert_eq!(file, wanted);
    }

    #[test]
    fn every_template_in_short_is_the_template() {
        for template in Template::value_variants() {
            let net = template.config();
            let file = short(&net).expect("it is written");
            let read: NetConfig = serde_json::from_value(file.clone()).expect("it is read");
            let [read, net] = [&read, &net].map(|net| serde_json::to_value(net).expect("written"));
            assert_eq!(read, net);
            assert!(file.to_string().len() < net.to_string().len(), "{file}");
        }
    }
}
