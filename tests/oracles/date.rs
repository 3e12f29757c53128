//! Dates as HTTP writes them (RFC 9110 §5.6.7), for the model: seconds since 1970 and back.

/// Reads IMF-fixdate, RFC 850 and asctime. The day of the week is not looked at.
pub(crate) fn read(text: &str) -> Option<u64> {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words[..] {
        [_, day, month, year, time, "GMT"] => seconds(day, month, year.parse().ok()?, time),
        [_, date, time, "GMT"] => {
            let [day, month, year] = date.split('-').collect::<Vec<_>>()[..] else { return None };
            let year: u64 = year.parse().ok()?;
            seconds(day, month, if year < 70 { 2000 + year } else { 1900 + year }, time)
        }
        [_, month, day, time, year] => seconds(day, month, year.parse().ok()?, time),
        _ => None,
    }
}

/// Writes IMF-fixdate.
pub(crate) fn write(seconds: u64) -> String {
    let (day, month, year, weekday, time) = parts(seconds);
    format!("{}, {day:02} {} {year} {time} GMT", &weekday[..3], MONTHS[month])
}

/// Writes a date as RFC 850 did.
pub(crate) fn write_rfc_850(seconds: u64) -> String {
    let (day, month, year, weekday, time) = parts(seconds);
    format!("{weekday}, {day:02}-{}-{:02} {time} GMT", MONTHS[month], year % 100)
}

/// Writes a date as C's asctime does.
pub(crate) fn write_asctime(seconds: u64) -> String {
    let (day, month, year, weekday, time) = parts(seconds);
    format!("{} {} {day:2} {time} {year}", &weekday[..3], MONTHS[month])
}

fn seconds(day: &str, month: &str, year: u64, time: &str) -> Option<u64> {
    let month = MONTHS.iter().position(|name| *name == month)?;
    let [hour, minute, second] = time.split(':').collect::<Vec<_>>()[..] else { return None };
    let days = (1970..year).map(days_of_year).sum::<u64>()
        + (0..month).map(|month| days_of_month(month, year)).sum::<u64>()
        + day.parse::<u64>().ok()?.checked_sub(1)?;
    let of_day = hour.parse::<u64>().ok()? * 3600 + minute.parse::<u64>().ok()? * 60 + second.parse::<u64>().ok()?;
    Some(days * 86_400 + of_day)
}

fn parts(seconds: u64) -> (u64, usize, u64, &'static str, String) {
    let (mut days, of_day) = (seconds / 86_400, seconds % 86_400);
    let weekday = WEEKDAYS[(days % 7) as usize];
    let time = format!("{:02}:{:02}:{:02}", of_day / 3600, of_day / 60 % 60, of_day % 60);
    let (mut year, mut month) = (1970, 0);
    while days >= days_of_year(year) {
        days -= days_of_year(year);
        year += 1;
    }
    while days >= days_of_month(month, year) {
        days -= days_of_month(month, year);
        month += 1;
    }
    (days + 1, month, year, weekday, time)
}

fn days_of_year(year: u64) -> u64 {
    (0..12).map(|month| days_of_month(month, year)).sum()
}

fn days_of_month(month: usize, year: u64) -> u64 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    [31, if is_leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month]
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// From the first of January 1970 on.
const WEEKDAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

#[test]
fn a_date_is_read_as_it_is_written_in_each_form() {
    // RFC 9110 §5.6.7 has these three.
    let known = 784_111_777;
    assert_eq!(write(known), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(write_rfc_850(known), "Sunday, 06-Nov-94 08:49:37 GMT");
    assert_eq!(write_asctime(known), "Sun Nov  6 08:49:37 1994");
    for seconds in [0, known, 951_782_400, 1_600_000_000, 1_609_459_199] {
        for text in [write(seconds), write_rfc_850(seconds), write_asctime(seconds)] {
            assert_eq!(read(&text), Some(seconds), "{text}");
        }
    }
    assert_eq!(read("0"), None);
}
