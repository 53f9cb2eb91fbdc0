use super::Ledger;
pub fn html(_: &Ledger) -> String {
    String::new()
}
