//! Images by tiles: MONAI's numbers, and the whole image away from the edges of the tiles.

use burn::tensor::{Device, Distribution, Tensor, TensorData, Tolerance};
use burn_skip::Layer;
use burn_skip::block::ConvNormActConfig;
use burn_skip::conv::{Conv, ConvConfig};
use burn_skip::tiles::{Blend, TilesConfig, mirrored_mean};
use serde_json::Value;

fn numbers(value: &Value) -> Vec<f32> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn tiles_give_what_monai_gives() {
    let device = Device::flex();
    let golden: Value = serde_json::from_str(include_str!("golden/tiles.json")).unwrap();
    let image = TensorData::new(numbers(&golden["image"]), [2, 2, 11, 13]);
    let image = Tensor::<4>::from_data(image, &device);
    let mut conv: Conv = ConvConfig::new([2, 3], 3).with_bias(false).init(&device);
    let weight = TensorData::new(numbers(&golden["weight"]), [3, 2, 3, 3]);
    conv.weight = burn::module::Param::from_tensor(Tensor::from_data(weight, &device));
    let cases = golden["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 4);
    for case in cases {
        let size: Vec<usize> = serde_json::from_value(case["size"].clone()).unwrap();
        let blend = match case["blend"].as_str() {
            Some("constant") => Blend::Constant,
            _ => Blend::gaussian(),
        };
        for batch in [1, 3] {
            let tiles = TilesConfig::new(size.clone())
                .with_overlap(case["overlap"].as_f64().unwrap())
                .with_blend(blend)
                .with_batch(batch);
            let mut runs = 0;
            let found = tiles.predict(image.clone(), |tile| {
                runs += tile.dims()[0] / 2;
                conv.forward(tile)
            });
            assert_eq!(runs, tiles.count(&[11, 13]).unwrap());
            let wanted = TensorData::new(numbers(&case["output"]), [2, 3, 11, 13]);
            found
                .into_data()
                .assert_approx_eq::<f32>(&wanted, Tolerance::absolute(1e-5));
        }
    }
}

/// Every position of the result is that of the whole image where a tile sees as far as the network does, for
/// one, two and three axes.
#[test]
fn where_tiles_see_enough_they_are_the_whole() {
    fn check<const R: usize>(shape: [usize; R]) {
        let device = Device::flex();
        let block: Conv<R> = ConvConfig::new([2, 3], 5)
            .with_initializer(burn::nn::Initializer::Ones)
            .init(&device);
        let x = Tensor::<R>::random(shape, Distribution::Default, &device);
        let whole = block.forward(x.clone());
        // It sees two positions on each side. One tile on all axes but the first, which has two.
        let mut size = shape[2..].to_vec();
        size[0] = 12;
        let tiles = TilesConfig::new(size)
            .with_overlap(0.5)
            .with_blend(Blend::Constant);
        assert_eq!(tiles.count(&shape[2..]).unwrap(), 2);
        let found = tiles.predict(x, |tile| block.forward(tile));
        // Tiles 0..12 and 6..18: but for 6..8 and 10..12, an edge of a tile is out of sight.
        for (start, len) in [(0, 6), (8, 2), (12, 6)] {
            let part = |map: &Tensor<R>| map.clone().narrow(2, start, len).into_data();
            part(&found).assert_approx_eq::<f32>(&part(&whole), Tolerance::absolute(1e-4));
        }
        let apart = (found - whole).abs().max().into_scalar::<f32>();
        assert!(apart > 1e-3, "the edges of tiles are seen: {apart}");
    }
    check([1, 2, 18]);
    check([2, 2, 18, 7]);
    check([1, 2, 18, 5, 6]);
}

#[test]
fn rows_are_written_in_order_and_once() {
    let device = Device::flex();
    let x = Tensor::<4>::random([1, 2, 50, 33], Distribution::Default, &device);
    let tiles = TilesConfig::new(16);
    let (mut next, mut most) = (0, 0);
    let mut found = Vec::new();
    tiles.predict_rows(
        &[50, 33],
        |rows| {
            most = most.max(rows.len());
            x.clone().narrow(2, rows.start, rows.len())
        },
        |tile| tile,
        |rows, part| {
            assert_eq!(rows.start, next);
            assert_eq!(part.dims(), [1, 2, rows.len(), 33]);
            next = rows.end;
            found.push(part);
        },
    );
    assert_eq!([next, most], [50, 16]);
    let found = Tensor::cat(found, 2).into_data();
    found.assert_approx_eq::<f32>(&x.into_data(), Tolerance::absolute(1e-6));
}

#[test]
fn mirror_images_are_turned_back() {
    let device = Device::flex();
    let x = Tensor::<4>::random([1, 2, 5, 6], Distribution::Default, &device);
    let same = mirrored_mean(x.clone(), |x| x);
    same.into_data()
        .assert_approx_eq::<f32>(&x.to_data(), Tolerance::absolute(1e-6));
    // A network that moves everything by one: the mean is that of all four directions.
    let shifted = |x: Tensor<4>| x.roll_dim(1, 3);
    let found = mirrored_mean(x.clone(), shifted);
    let wanted = (x.clone().roll_dim(1, 3) + x.roll_dim(-1, 3)) / 2.0;
    found
        .into_data()
        .assert_approx_eq::<f32>(&wanted.into_data(), Tolerance::absolute(1e-6));
}

fn refused(tiles: TilesConfig, image: &[usize]) -> String {
    tiles.count(image).unwrap_err().to_string()
}

#[test]
fn what_cannot_be_cut_is_refused() {
    assert_eq!(
        refused(TilesConfig::new(8).with_overlap(1.0), &[9, 9]),
        "Tiles: overlap is 1. Choose a fraction of the tile in [0, 1)."
    );
    assert!(refused(TilesConfig::new(0), &[9, 9]).contains("size"));
    assert!(refused(TilesConfig::new([8, 8, 8]), &[9, 9]).contains("size"));
    assert!(refused(TilesConfig::new(8).with_batch(0), &[9, 9]).contains("batch"));
    let blend = Blend::Gaussian { sigma: 0.0 };
    assert!(refused(TilesConfig::new(8).with_blend(blend), &[9, 9]).contains("sigma is 0"));
    assert!(refused(TilesConfig::new(8), &[9, 0]).contains("[9, 0]"));
}

#[test]
#[should_panic = "Tiles: the network gives [1, 2, 4, 4] for tiles of the shape [1, 2, 8, 8]. Use a network that keeps the size."]
fn a_network_that_shrinks_its_tile_is_refused() {
    let device = Device::flex();
    let down = ConvNormActConfig::new([2, 2], 3)
        .with_stride(2)
        .init::<4>(&device);
    let x = Tensor::zeros([1, 2, 20, 20], &device);
    TilesConfig::new(8).predict(x, |tile| down.forward(tile));
}

#[test]
#[should_panic = "Tiles: `read` returned rows of the size [9, 20], expected [8, 20]. Return the rows of the range, over the whole width of the image."]
fn other_rows_than_were_asked_for_are_refused() {
    let x = Tensor::<4>::zeros([1, 2, 9, 20], &Device::flex());
    TilesConfig::new(8).predict_rows(&[20, 20], |_| x.clone(), |tile| tile, |_, _| ());
}

#[test]
#[should_panic = "Tiles: the size of the image"]
fn an_image_of_other_axes_is_refused() {
    let x = Tensor::<4>::zeros([1, 2, 8, 8], &Device::flex());
    TilesConfig::new(8).predict_rows(&[20], |_| x.clone(), |tile| tile, |_, _| ());
}
