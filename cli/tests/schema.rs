//! The JSON schema of a network's file.

#[path = "support/json_schema.rs"]
mod json_schema;

use burn::nn::Initializer;
use burn_skip::activation::ActivationConfig;
use burn_skip::augment::AugmentConfig;
use burn_skip::block::ConvStyle;
use burn_skip::gate::GateConfig;
use burn_skip::net::{
    ClassifierConfig, DenseNetEncoderConfig, EncoderConfig, NetConfig, ResNetEncoderConfig,
    UnetConfig,
};
use burn_skip::up::UpConfig;
use serde_json::{Value, json};

/// Whether the schema takes a file.
fn takes(schema: &Value, file: &Value) -> bool {
    json_schema::check(schema, schema, file).is_ok()
}

#[test]
fn the_schema_takes_what_the_reader_takes_and_nothing_else() {
    let schema = serde_json::to_value(schemars::schema_for!(NetConfig)).unwrap();
    let resnet = EncoderConfig::ResNet(ResNetEncoderConfig::resnet50());
    let densenet = EncoderConfig::DenseNet(DenseNetEncoderConfig::densenet121());
    let mut nets = vec![
        NetConfig::Unet(UnetConfig::unpadded(1, 2, vec![4, 8])),
        NetConfig::Unet(UnetConfig::smp(resnet.clone(), 3)),
        NetConfig::Unet(UnetConfig::monai_basic(1, 2, [8, 8, 16, 32, 64, 8])),
        NetConfig::Classifier(ClassifierConfig::new(densenet, 10)),
    ];
    let gates = [GateConfig::attention(3), GateConfig::scse(2)];
    let ups = [UpConfig::pixel_shuffle(), UpConfig::conv_transpose()];
    for (gate, up) in gates.into_iter().zip(ups) {
        let unet = UnetConfig::new(3, 2, vec![4, 8]);
        nets.push(NetConfig::Unet(unet.with_gate(gate).with_up(up)));
    }
    for activation in [
        ActivationConfig::Gelu,
        ActivationConfig::Silu,
        ActivationConfig::PRelu {
            num_parameters: 1,
            alpha: 0.25,
        },
        ActivationConfig::HardSigmoid {
            alpha: 0.2,
            beta: 0.5,
        },
        ActivationConfig::Softplus { beta: 1.0 },
        ActivationConfig::Elu { alpha: 1.0 },
    ] {
        for initializer in [
            Initializer::Ones,
            Initializer::Normal {
                mean: 0.0,
                std: 0.1,
            },
        ] {
            let mut style = ConvStyle::new().with_activation(activation);
            style.initializer = initializer;
            nets.push(NetConfig::Unet(
                UnetConfig::new(3, 2, vec![4, 8]).with_style(style),
            ));
        }
    }
    for net in &nets {
        let file = serde_json::to_value(net).unwrap();
        assert_eq!(json_schema::check(&schema, &schema, &file), Ok(()));
    }

    let mut file = serde_json::to_value(&nets[0]).unwrap();
    file["Unet"]["out_chanels"] = 2.into();
    assert!(!takes(&schema, &file));
    let mut file = serde_json::to_value(&nets[0]).unwrap();
    file["Unet"]["decoder"]["fit"] = "Exactly".into();
    assert!(!takes(&schema, &file));
    assert!(!takes(&schema, &json!({"Net": {}})));
    let short = json!({"Unet": {"in_channels": 1, "widths": [16, 32], "out_channels": 1}});
    assert!(takes(&schema, &short));
    for wrong in [json!(-16), json!(1.5), json!("16")] {
        let mut file = short.clone();
        file["Unet"]["widths"][0] = wrong;
        assert!(!takes(&schema, &file));
    }
}

#[test]
fn the_schema_of_augmentation_takes_what_the_reader_takes_and_nothing_else() {
    let schema = serde_json::to_value(schemars::schema_for!(AugmentConfig)).unwrap();
    let sets = [
        AugmentConfig::none(),
        AugmentConfig::flips(),
        AugmentConfig::standard(),
    ];
    for set in sets {
        let file = serde_json::to_value(&set).unwrap();
        assert_eq!(json_schema::check(&schema, &schema, &file), Ok(()));
    }
    let step = |transform: Value| json!([{"probability": 0.5, "transform": transform}]);
    for right in [
        json!("QuarterTurn"),
        json!({"Rotate": {"degrees": [0, 90]}}),
        json!({"CutOut": {"fill": {"Value": 0.5}}}),
        json!({"Elastic": {}}),
    ] {
        let file = step(right);
        assert!(takes(&schema, &file), "{file}");
        serde_json::from_value::<AugmentConfig>(file).unwrap();
    }
    for wrong in [
        json!("Rotate"),
        json!({"Rotate": {"degrees": [0]}}),
        json!({"Rotate": {"degree": [0, 90]}}),
        json!({"Flip": {"axes": ["Column"]}}),
    ] {
        let file = step(wrong);
        assert!(!takes(&schema, &file), "{file}");
        assert!(serde_json::from_value::<AugmentConfig>(file).is_err());
    }
    assert!(!takes(&schema, &json!([{"transform": "QuarterTurn"}])));
}
