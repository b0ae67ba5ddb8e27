//! Uploads in the fold. Invariant: what is on its way is a statement that was sealed; of several collectors that send
//! the journal's order decides whose step counts.

use std::sync::Arc;

use jiff::Timestamp;
use seatbeat_proto::wire;

use super::{Entry, Fold, Stop, refuse_unless};
use crate::calendar::Period;
use crate::mapping::Fields;
use crate::record::check_name;
use crate::registry::Refusal;
use crate::uploads::{Answer, PartId, SAID_LENGTH_MAX, Status, UploadId};

impl Fold {
    pub(super) fn note_upload(
        &mut self,
        entry: &Entry,
        fact: &wire::UploadNoted,
        at: Timestamp,
    ) -> Result<(), Stop> {
        let named = (fact.period.as_str(), fact.distributor.as_str(), fact.destination.as_str());
        let id = self.upload_id(entry, named, fact.revision)?;
        let status = Status::from_wire(fact.status()).ok_or(Refusal::Malformed)?;
        let uploads = Arc::make_mut(&mut self.uploads);
        if status == Status::Built {
            refuse_unless(fact.noted.is_empty() && fact.submission == 1, Refusal::Malformed)?;
            return Ok(uploads.build(id, fact.parts, at)?);
        }
        let answer = |part: &wire::UploadPart| -> Result<(PartId, Answer), Stop> {
            let texts = [&part.quantity, &part.digest, &part.far_id, &part.said];
            let is_bounded = texts.iter().all(|text| text.len() <= SAID_LENGTH_MAX);
            refuse_unless(is_bounded, Refusal::Malformed)?;
            let answer = Answer {
                submission: fact.submission,
                status,
                at,
                quantity: part.quantity.clone(),
                digest: part.digest.clone(),
                far_id: part.far_id.clone(),
                said: part.said.clone(),
            };
            if part.customer.is_empty() {
                return Ok((PartId::Whole, answer));
            }
            let (customer, sku) = (entry.id("customer", &part.customer)?, entry.id("sku", &part.sku)?);
            let id = match part.for_period.as_str() {
                "" => PartId::Line(customer, sku),
                period => PartId::Correction(customer, sku, entry.id("for_period", period)?),
            };
            Ok((id, answer))
        };
        let noted = fact.noted.iter().map(answer).collect::<Result<Vec<_>, Stop>>()?;
        Ok(uploads.note(&id, fact.submission, noted)?)
    }

    pub(super) fn retry_upload(&mut self, entry: &Entry, fact: &wire::UploadRetried) -> Result<(), Stop> {
        let named = (fact.period.as_str(), fact.distributor.as_str(), fact.destination.as_str());
        let id = self.upload_id(entry, named, fact.revision)?;
        Ok(Arc::make_mut(&mut self.uploads).retry(&id, fact.submission)?)
    }

    pub(super) fn set_mapping(&mut self, entry: &Entry, fact: &wire::MappingSet) -> Result<(), Stop> {
        check_name(&fact.destination, "a destination")
            .map_err(|error| entry.invalid("destination", error))?;
        let mut rows = Vec::new();
        for row in &fact.rows {
            let fields: Fields =
                row.fields.iter().map(|field| (field.name.clone(), field.value.clone())).collect();
            rows.push((entry.id("customer", &row.customer)?, entry.id("sku", &row.sku)?, fields));
        }
        Ok(Arc::make_mut(&mut self.mappings).set(&fact.destination, rows)?)
    }

    fn upload_id(
        &self,
        entry: &Entry,
        (period, distributor, destination): (&str, &str, &str),
        revision: u32,
    ) -> Result<UploadId, Stop> {
        check_name(destination, "a destination").map_err(|error| entry.invalid("destination", error))?;
        let period: Period = entry.id("period", period)?;
        let newest = self.sealed(period).find(|(name, _)| *name == distributor);
        let is_sealed = newest.is_some_and(|(_, sealed)| (1..=sealed.revision).contains(&revision));
        refuse_unless(is_sealed, Refusal::UnknownUpload)?;
        let (distributor, destination) = (distributor.to_owned(), destination.to_owned());
        Ok(UploadId { period, distributor, revision, destination })
    }
}
