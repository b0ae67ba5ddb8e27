//! Billing zones, each with a month in which its clocks do something, or nothing.
//! Skipped and repeated midnights are among them.

/// Zone and period.
pub(super) const PLACES: [(&str, &str); 26] = [
    ("UTC", "2026-10"),
    ("UTC", "2028-02"),
    ("Europe/Berlin", "2026-10"),
    ("Europe/Berlin", "2026-03"),
    ("Europe/Berlin", "2027-01"),
    ("America/New_York", "2026-11"),
    ("America/New_York", "2026-03"),
    ("Australia/Lord_Howe", "2026-10"),
    ("Australia/Lord_Howe", "2026-04"),
    ("America/Sao_Paulo", "2018-11"),
    ("America/Sao_Paulo", "2018-02"),
    ("America/Sao_Paulo", "2026-02"),
    ("Pacific/Apia", "2012-01"),
    ("Pacific/Apia", "2026-04"),
    ("Africa/Cairo", "2026-04"),
    ("Africa/Cairo", "2026-10"),
    ("America/Havana", "2026-11"),
    ("America/Havana", "2026-03"),
    ("America/St_Johns", "2010-11"),
    ("America/St_Johns", "2011-03"),
    ("Asia/Beirut", "2026-03"),
    ("Asia/Kathmandu", "2026-12"),
    ("Atlantic/Azores", "2026-10"),
    ("Africa/Casablanca", "2026-03"),
    ("Pacific/Kiritimati", "2026-01"),
    ("Asia/Kolkata", "2026-02"),
];
