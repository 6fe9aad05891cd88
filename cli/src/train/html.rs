//! `report.html`: a training on one page, which needs no other file.

use std::fmt::{self, Display, Write};

use burn_skip::plan::Plan;
use serde_json::Value;

use super::history::{Epoch, History};
use super::options::Options;
use crate::Result;
use crate::drawing::curves;
use crate::segmentation::class_names;

/// What of this program and of Burn made the training.
const CARGO: &str = include_str!("../../Cargo.toml");

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}\
table{border-collapse:collapse;margin:1em 0}td,th{border:1px solid #ddd;padding:3px 10px;text-align:right}\
th{background:#f4f4f4}td:first-child,th:first-child{text-align:left}.best{background:#eef6e8}\
img{max-width:100%}code{white-space:pre-wrap;word-break:break-word}.options td{text-align:left}";

/// A picture of a prediction, and how good it is.
pub struct Judged {
    /// The image's name.
    pub name: String,
    pub iou: f64,
    pub png: Vec<u8>,
}

/// What the page is about.
pub struct Page<'a> {
    pub options: &'a Options,
    pub plan: &'a Plan,
    pub devices: String,
    pub history: &'a History,
    /// The epoch whose weights are kept as the model.
    pub epoch: usize,
    /// The images with the least IoU, the worst first.
    pub worst: &'a [Judged],
    /// How many images were validated on.
    pub images: usize,
}

impl Page<'_> {
    /// The page.
    ///
    /// # Errors
    /// When the curves cannot be drawn.
    pub fn html(&self) -> Result<String> {
        let mut page = String::new();
        let name = &self.plan.root.label;
        write!(
            page,
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{0}</title><style>{STYLE}</style>\
             </head><body>\n<h1>{0}</h1>\n",
            Escaped(&format!("Training of a {name}"))
        )?;
        self.summary(&mut page)?;
        writeln!(page, "<h2>Curves</h2>")?;
        picture(&mut page, "loss and scores", &curves::png(self.history)?)?;
        self.classes(&mut page)?;
        self.worst(&mut page)?;
        self.epochs(&mut page)?;
        self.configuration(&mut page)?;
        page.push_str("</body></html>\n");
        Ok(page)
    }

    fn summary(&self, page: &mut String) -> fmt::Result {
        let history = self.history;
        let Some(best) = self.best() else {
            return Ok(());
        };
        writeln!(
            page,
            "<p>Validation IoU <b>{:.3}</b>, Dice <b>{:.3}</b> in epoch {} of {}, whose weights are <code>model.bpk</code>. \
             {} steps in {:.0} s on {}; {} parameters.</p>",
            best.iou,
            best.dice,
            best.epoch,
            history.epochs.len(),
            history.steps(),
            history.seconds(),
            Escaped(&self.devices),
            self.plan.root.total_parameters()
        )
    }

    /// The epoch of the model.
    fn best(&self) -> Option<&Epoch> {
        let mut epochs = self.history.epochs.iter();
        epochs.find(|epoch| epoch.epoch == self.epoch)
    }

    fn classes(&self, page: &mut String) -> fmt::Result {
        let Some(best) = self.best().filter(|best| !best.class_iou.is_empty()) else {
            return Ok(());
        };
        let score = |scores: &[Option<f32>], class: usize| match scores.get(class) {
            Some(Some(score)) => format!("{score:.3}"),
            _ => "-".into(),
        };
        writeln!(page, "<h2>Classes</h2>")?;
        let names = &self.options.class_names;
        let rows = (0..best.class_iou.len()).map(|class| {
            let name = class_names::shown(names, class);
            let scores = [&best.class_iou, &best.class_dice].map(|scores| score(scores, class));
            (false, [vec![name], scores.into()].concat())
        });
        table(page, "", &["class", "IoU", "Dice"], rows)
    }

    fn worst(&self, page: &mut String) -> fmt::Result {
        writeln!(
            page,
            "<h2>Worst images</h2>\n<p>{} of {} that were validated on, by their IoU.</p>",
            self.worst.len(),
            self.images
        )?;
        for Judged { name, iou, png } in self.worst {
            writeln!(page, "<h3>{}: IoU {iou:.3}</h3>", Escaped(name))?;
            picture(page, name, png)?;
        }
        Ok(())
    }

    fn epochs(&self, page: &mut String) -> fmt::Result {
        writeln!(page, "<h2>Epochs</h2>")?;
        let rows = self.history.epochs.iter().map(|epoch| {
            let scores = [epoch.train_loss, epoch.valid_loss, epoch.iou, epoch.dice];
            let mut cells = vec![epoch.epoch.to_string()];
            cells.extend(scores.map(|score| format!("{score:.3}")));
            cells.push(format!("{:.1}", epoch.seconds));
            (epoch.epoch == self.epoch, cells)
        });
        let head = [
            "epoch",
            "train loss",
            "valid loss",
            "IoU",
            "Dice",
            "seconds",
        ];
        table(page, "", &head, rows)
    }

    fn configuration(&self, page: &mut String) -> Result<()> {
        writeln!(page, "<h2>Configuration</h2>")?;
        let mut rows = vec![
            (
                "burn-skip".to_string(),
                env!("CARGO_PKG_VERSION").to_string(),
            ),
            ("burn".into(), burn_version().to_string()),
        ];
        let options = serde_json::to_value(self.options)?;
        let options = options.as_object().into_iter().flatten();
        rows.extend(options.map(|(name, value)| (name.clone(), shown(value))));
        let rows = rows
            .into_iter()
            .map(|(name, value)| (false, vec![name, value]));
        table(page, "options", &["option", "value"], rows)?;
        Ok(())
    }
}

/// A text as it is, anything else as JSON.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The version of Burn that this program is made with.
fn burn_version() -> &'static str {
    let line = CARGO.lines().find(|line| line.starts_with("burn = "));
    let version = line.and_then(|line| line.split('"').nth(1));
    version.unwrap_or("unknown")
}

fn table(
    page: &mut String,
    class: &str,
    head: &[&str],
    rows: impl Iterator<Item = (bool, Vec<String>)>,
) -> fmt::Result {
    write!(page, "<table class=\"{class}\"><tr>")?;
    head.iter()
        .try_for_each(|cell| write!(page, "<th>{cell}</th>"))?;
    for (is_best, cells) in rows {
        let class = if is_best { " class=\"best\"" } else { "" };
        write!(page, "</tr>\n<tr{class}>")?;
        let mut cells = cells.iter();
        cells.try_for_each(|cell| write!(page, "<td>{}</td>", Escaped(cell)))?;
    }
    writeln!(page, "</tr></table>")
}

fn picture(page: &mut String, text: &str, png: &[u8]) -> fmt::Result {
    let (text, data) = (Escaped(text), Base64(png));
    writeln!(
        page,
        "<img alt=\"{text}\" src=\"data:image/png;base64,{data}\">"
    )
}

/// Text whose characters have no meaning in HTML.
struct Escaped<'t>(&'t str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '&' => f.write_str("&amp;"),
            '"' => f.write_str("&quot;"),
            other => f.write_char(other),
        })
    }
}

/// Bytes in base64 (RFC 4648).
struct Base64<'b>(&'b [u8]);

impl Display for Base64<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        for bytes in self.0.chunks(3) {
            let byte = |index: usize| u32::from(bytes.get(index).copied().unwrap_or(0));
            let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
            for digit in 0..4 {
                let value = (bits >> (18 - 6 * digit)) & 63;
                match digit <= bytes.len() {
                    true => f.write_char(char::from(DIGITS[value as usize]))?,
                    false => f.write_char('=')?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        let encoded = |text: &str| Base64(text.as_bytes()).to_string();
        for (text, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encoded(text), expected);
        }
        assert_eq!(Base64(&[0xfb, 0xff]).to_string(), "+/8=");
    }

    #[test]
    fn text_has_no_meaning_in_html() {
        let text = r#"<b title="a">A & B</b>"#;
        let expected = "&lt;b title=&quot;a&quot;&gt;A &amp; B&lt;/b&gt;";
        assert_eq!(Escaped(text).to_string(), expected);
    }

    #[test]
    fn the_version_of_burn_is_found() {
        assert!(burn_version().starts_with("0."), "{}", burn_version());
    }
}
