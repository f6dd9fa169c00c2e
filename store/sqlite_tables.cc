#include "store/sqlite_tables.h"

#include <unistd.h>

#include <algorithm>

#include "store/codec.h"

namespace ledger::sqlite {
namespace {

std::int64_t ms(Instant instant) { return instant.time_since_epoch().count(); }
Instant instant(std::int64_t ms) { return Instant(std::chrono::milliseconds(ms)); }

// The same positions in INSERT, UPDATE (which leaves id alone, so that its index is not touched)
// and bind_record().
constexpr const char* insert_record =
    "INSERT INTO records (seq, id, state, version, claim_version, generation, attempts, executed, "
    "replayed, joined, effects, tainted, key_source, created_at, updated_at, expires_at, ttl, "
    "first_sent_at, ownerless_at, owner, route, method, url, agent, run, fingerprint, history, "
    "closed_at, unsent, mismatched, label, key_text, scope) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, "
    "?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, "
    "?17, ?18, ?19, "
    "?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33) ON CONFLICT (id) DO "
    "NOTHING";
constexpr const char* update_record =
    "UPDATE records SET state = ?3, version = ?4, claim_version = ?5, generation = ?6, "
    "attempts = ?7, executed = ?8, replayed = ?9, joined = ?10, effects = ?11, tainted = ?12, "
    "key_source = ?13, created_at = ?14, updated_at = ?15, expires_at = ?16, ttl = ?17, "
    "first_sent_at = ?18, ownerless_at = ?19, owner = ?20, route = ?21, method = ?22, url = ?23, "
    "agent = ?24, run = ?25, fingerprint = ?26, history = ?27, closed_at = ?28, unsent = ?29, "
    "mismatched = ?30, label = ?31, key_text = ?32, "
    "scope = ?33 WHERE seq = ?1";

// What settling a call adds to its row: a line of history, and a time. A claim keeps room for it,
// so that the row can be written where it stands; one that grows makes its full page split.
constexpr std::size_t settle_room = 48;  // bytes

// `history` must outlive the statement's run.
void bind_record(Statement& s, std::int64_t seq, const Digest& id, const Record& next,
                 const Stamp& stamp, const std::string& history) {
  s.bind(1, seq).bind(2, id).bind(3, std::int64_t(next.state));
  s.bind(4, stamp.version).bind(5, stamp.claim_version).bind(6, stamp.generation);
  s.bind(7, stamp.counts.attempts).bind(8, stamp.counts.executed);
  s.bind(9, stamp.counts.replayed).bind(10, stamp.counts.joined);
  s.bind(11, std::int64_t(next.effects)).bind(12, std::int64_t(next.tainted));
  s.bind(13, std::int64_t(next.key_source));
  s.bind(14, ms(next.created_at)).bind(15, ms(next.updated_at));
  next.expires_at ? s.bind(16, ms(*next.expires_at)) : s.bind_null(16);
  next.ttl ? s.bind(17, std::int64_t(next.ttl->count())) : s.bind_null(17);
  s.bind(18, ms(next.first_sent_at)).bind(19, ms(next.ownerless_at));
  s.bind(20, std::string_view(next.owner)).bind(21, std::string_view(next.route));
  s.bind(22, std::string_view(next.method)).bind(23, std::string_view(next.url));
  s.bind(24, std::string_view(next.agent)).bind(25, std::string_view(next.run));
  s.bind(26, next.fingerprint).bind(27, std::string_view(history));
  next.closed_at ? s.bind(28, ms(*next.closed_at)) : s.bind_null(28);
  s.bind(29, stamp.counts.unsent).bind(30, stamp.counts.mismatched);
  s.bind(31, std::string_view(next.label)).bind(32, std::string_view(next.key_text));
  s.bind(33, static_cast<std::int64_t>(next.scope));
}

// Columns of select_records().
enum Column : int {
  c_id,
  c_state,
  c_version,
  c_claim_version,
  c_generation,
  c_attempts,
  c_executed,
  c_replayed,
  c_joined,
  c_effects,
  c_tainted,
  c_key_source,
  c_created_at,
  c_updated_at,
  c_expires_at,
  c_ttl,
  c_first_sent_at,
  c_ownerless_at,
  c_owner,
  c_route,
  c_method,
  c_url,
  c_agent,
  c_run,
  c_fingerprint,
  c_history,
  c_closed_at,
  c_unsent,
  c_mismatched,
  c_label,
  c_key_text,
  c_scope,
  c_answer_status,
  c_answer_reason,
  c_answer_headers,
  c_answer_body_stored,
  c_answer_received_at,
  c_answer_body,
  c_request_target,
  c_request_content_type,
  c_request_content_encoding,
  c_request_body,
  c_request_probe,
  c_seq,
};

constexpr const char* select_instances = "SELECT name, slot, lease_until FROM instances";

std::vector<Tables::Instance> rows_of(Statement& instances) {
  std::vector<Tables::Instance> found;
  while (instances.step())
    found.push_back({instances.text(0), instances.integer(1), instant(instances.integer(2))});
  return found;
}

Digest digest(std::string_view bytes) {
  Digest digest{};
  std::copy_n(bytes.begin(), std::min(bytes.size(), digest.size()), digest.begin());
  return digest;
}

AnswerPtr read_answer(const Statement& row) {
  if (row.is_null(c_answer_status)) return nullptr;
  Answer answer;
  answer.status = static_cast<int>(row.integer(c_answer_status));
  answer.reason = row.text(c_answer_reason);
  answer.headers = codec::decode_headers(row.bytes(c_answer_headers));
  answer.body = row.text(c_answer_body);
  answer.body_stored = row.integer(c_answer_body_stored) != 0;
  answer.received_at = instant(row.integer(c_answer_received_at));
  return std::make_shared<const Answer>(std::move(answer));
}

StoredRequestPtr read_request(const Statement& row) {
  if (row.is_null(c_request_target)) return nullptr;
  return std::make_shared<const StoredRequest>(StoredRequest{
      row.text(c_request_target), row.text(c_request_content_type),
      row.text(c_request_content_encoding), row.text(c_request_body), row.text(c_request_probe)});
}

}  // namespace

std::string select_records(bool bodies) {
  std::string columns =
      "SELECT id, state, version, claim_version, generation, attempts, executed, replayed, joined, "
      "effects, tainted, key_source, created_at, updated_at, expires_at, ttl, first_sent_at, "
      "ownerless_at, owner, route, method, url, agent, run, fingerprint, history, closed_at, "
      "unsent, mismatched, label, key_text, scope, "
      "answers.status, answers.reason, answers.headers, answers.body_stored, answers.received_at, ";
  columns += bodies ? "answers.body, requests.target, requests.content_type, "
                      "requests.content_encoding, requests.body, requests.probe, "
                    : "NULL, NULL, NULL, NULL, NULL, NULL, ";
  return columns + "records.seq ";
}

std::uint64_t read_seq(const Statement& row) { return row.natural(c_seq); }

Record read_record(const Statement& row) {
  Record record;
  record.id = digest(row.bytes(c_id));
  record.state = static_cast<State>(row.integer(c_state));
  record.version = row.natural(c_version);
  record.claim_version = row.natural(c_claim_version);
  record.generation = row.natural(c_generation);
  record.counts = {row.natural(c_attempts), row.natural(c_executed), row.natural(c_replayed),
                   row.natural(c_joined),   row.natural(c_unsent),   row.natural(c_mismatched)};
  record.effects = static_cast<std::uint32_t>(row.natural(c_effects));
  record.tainted = row.integer(c_tainted) != 0;
  record.key_source = static_cast<KeySource>(row.integer(c_key_source));
  record.created_at = instant(row.integer(c_created_at));
  record.updated_at = instant(row.integer(c_updated_at));
  if (!row.is_null(c_expires_at)) record.expires_at = instant(row.integer(c_expires_at));
  if (!row.is_null(c_ttl)) record.ttl = std::chrono::milliseconds(row.integer(c_ttl));
  record.first_sent_at = instant(row.integer(c_first_sent_at));
  record.ownerless_at = instant(row.integer(c_ownerless_at));
  record.owner = row.text(c_owner);
  record.route = row.text(c_route);
  record.method = row.text(c_method);
  record.url = row.text(c_url);
  record.agent = row.text(c_agent);
  record.run = row.text(c_run);
  record.label = row.text(c_label);
  record.key_text = row.text(c_key_text);
  record.scope = static_cast<std::uint64_t>(row.integer(c_scope));
  record.fingerprint = digest(row.bytes(c_fingerprint));
  if (!row.is_null(c_closed_at)) record.closed_at = instant(row.integer(c_closed_at));
  record.history = codec::decode_history(row.bytes(c_history));
  record.answer = read_answer(row);
  record.request = read_request(row);
  return record;
}

Tables::Tables(Connection& db)
    : db_(db),
      begin_read_(db, "BEGIN"),
      begin_write_(db, "BEGIN IMMEDIATE"),
      commit_(db, "COMMIT"),
      find_(db, select_records(true) +
                    "FROM records LEFT JOIN answers USING (seq) "
                    "LEFT JOIN requests USING (seq) WHERE id = ?1"),
      find_seq_(db, select_records(true) +
                        "FROM records LEFT JOIN answers USING (seq) "
                        "LEFT JOIN requests USING (seq) WHERE records.seq = ?1"),
      locate_(
          db,
          "SELECT seq, version, state, attempts, executed, replayed, joined, unsent, mismatched "
          "FROM records "
          "WHERE id = ?1"),
      insert_(db, insert_record),
      update_(db, update_record),
      delete_(db, "DELETE FROM records WHERE seq = ?1"),
      add_counts_(db,
                  "UPDATE records SET attempts = attempts + ?2, executed = executed + ?3, "
                  "replayed = replayed + ?4, joined = joined + ?5, unsent = unsent + ?6, "
                  "mismatched = mismatched + ?7 WHERE id = ?1"),
      expired_(db,
               "SELECT seq FROM records WHERE expires_at IS NOT NULL AND expires_at <= ?1 "
               "AND state <> 0 ORDER BY expires_at LIMIT ?2"),
      in_flight_(db,
                 "SELECT seq, ownerless_at, owner FROM records INDEXED BY records_in_flight "
                 "WHERE state = 0"),
      put_answer_(db,
                  "INSERT OR REPLACE INTO answers (seq, status, received_at, body_stored, reason, "
                  "headers, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"),
      delete_answer_(db, "DELETE FROM answers WHERE seq = ?1"),
      put_request_(db,
                   "INSERT OR REPLACE INTO requests (seq, target, content_type, content_encoding, "
                   "body, probe) VALUES (?1, ?2, ?3, ?4, ?5, ?6)"),
      delete_request_(db, "DELETE FROM requests WHERE seq = ?1"),
      version_(db, "SELECT version FROM meta WHERE one = 1"),
      set_version_(db, "UPDATE meta SET version = ?1 WHERE one = 1"),
      instance_(db, "SELECT name, slot, lease_until FROM instances WHERE name = ?1"),
      instances_(db, select_instances),
      add_instance_(db,
                    "INSERT INTO instances (name, slot, lease_until, started_at, pid) "
                    "VALUES (?1, ?2, ?3, ?4, ?5)"),
      renew_(db, "UPDATE instances SET lease_until = ?3 WHERE name = ?1 AND lease_until > ?2"),
      delete_instance_(db, "DELETE FROM instances WHERE name = ?1"),
      owns_in_flight_(db,
                      "SELECT 1 FROM records INDEXED BY records_in_flight "
                      "WHERE state = 0 AND owner = ?1 LIMIT 1") {}

// --- records -----------------------------------------------------------------------------------

MaybeRecord Tables::find(const Digest& id) {
  Resetting guard(find_);
  if (!find_.bind(1, id).step()) return std::nullopt;
  return read_record(find_);
}

MaybeRecord Tables::find(std::int64_t seq) {
  Resetting guard(find_seq_);
  if (!find_seq_.bind(1, seq).step()) return std::nullopt;
  return read_record(find_seq_);
}

std::optional<Tables::Place> Tables::locate(const Digest& id) {
  Resetting guard(locate_);
  if (!locate_.bind(1, id).step()) return std::nullopt;
  const auto& row = locate_;
  return Place{row.integer(0),
               row.natural(1),
               {row.natural(3), row.natural(4), row.natural(5), row.natural(6), row.natural(7),
                row.natural(8)},
               static_cast<State>(row.integer(2))};
}

bool Tables::insert(const Digest& id, const Record& next, const Stamp& stamp) {
  const auto seq = static_cast<std::int64_t>(stamp.version);
  auto history = codec::encode_history(next);
  history.append(settle_room, ' ');
  bind_record(insert_, seq, id, next, stamp, history);
  insert_.run();
  if (!db_.ok() || db_.changes() == 0) return false;
  put_parts(seq, next, false);
  return true;
}

void Tables::update(std::int64_t seq, const Digest& id, const Record& next, const Stamp& stamp) {
  const auto history = codec::encode_history(next);
  bind_record(update_, seq, id, next, stamp, history);
  update_.run();
  put_parts(seq, next, true);
}

// The rows beside the record: the answer and the request as `next` has them. `existed`: the record
// may have had others before.
void Tables::put_parts(std::int64_t seq, const Record& next, bool existed) {
  if (next.answer) {
    const Answer& answer = *next.answer;
    const auto headers = codec::encode(answer.headers);
    put_answer_.bind(1, seq).bind(2, std::int64_t(answer.status)).bind(3, ms(answer.received_at));
    put_answer_.bind(4, std::int64_t(answer.body_stored));
    put_answer_.bind(5, std::string_view(answer.reason)).bind(6, std::string_view(headers));
    put_answer_.bind_blob(7, answer.body).run();
  } else if (existed) {
    delete_answer_.bind(1, seq).run();
  }
  if (next.request) {
    const StoredRequest& request = *next.request;
    put_request_.bind(1, seq).bind(2, std::string_view(request.target));
    put_request_.bind(3, std::string_view(request.content_type));
    put_request_.bind(4, std::string_view(request.content_encoding));
    put_request_.bind_blob(5, request.body).bind(6, std::string_view(request.probe)).run();
  } else if (existed) {
    delete_request_.bind(1, seq).run();
  }
}

void Tables::remove(std::int64_t seq) {
  delete_.bind(1, seq).run();
  delete_answer_.bind(1, seq).run();
  delete_request_.bind(1, seq).run();
}

void Tables::add_counts(const Digest& id, const Counts& add) {
  add_counts_.bind(1, id).bind(2, add.attempts).bind(3, add.executed).bind(4, add.replayed);
  add_counts_.bind(5, add.joined).bind(6, add.unsent).bind(7, add.mismatched).run();
}

std::vector<std::int64_t> Tables::expired(Instant now, std::size_t limit) {
  Resetting guard(expired_);
  std::vector<std::int64_t> found;
  expired_.bind(1, ms(now)).bind(2, static_cast<std::int64_t>(limit));
  while (expired_.step()) found.push_back(expired_.integer(0));
  return found;
}

std::vector<Tables::InFlight> Tables::in_flight() {
  Resetting guard(in_flight_);
  std::vector<InFlight> found;
  while (in_flight_.step())
    found.push_back({in_flight_.integer(0), instant(in_flight_.integer(1)), in_flight_.text(2)});
  return found;
}

// --- the store's own row -----------------------------------------------------------------------

std::uint64_t Tables::version() {
  Resetting guard(version_);
  return version_.step() ? version_.natural(0) : 0;
}

void Tables::set_version(std::uint64_t version) { set_version_.bind(1, version).run(); }

std::string Tables::secret() {
  Statement secret(db_, "SELECT secret FROM meta WHERE one = 1");
  return secret.step() ? secret.text(0) : std::string();
}

// --- instances ---------------------------------------------------------------------------------

std::optional<Tables::Instance> Tables::instance(const std::string& name) {
  Resetting guard(instance_);
  if (!instance_.bind(1, std::string_view(name)).step()) return std::nullopt;
  return Instance{instance_.text(0), instance_.integer(1), instant(instance_.integer(2))};
}

std::vector<Tables::Instance> Tables::instances() {
  Resetting guard(instances_);
  return rows_of(instances_);
}

std::vector<Tables::Instance> read_instances(Connection& db) {
  Statement select(db, select_instances);
  return rows_of(select);
}

void Tables::add_instance(const Instance& added, Instant started_at) {
  add_instance_.bind(1, std::string_view(added.name)).bind(2, added.slot);
  add_instance_.bind(3, ms(added.lease_until)).bind(4, ms(started_at));
  add_instance_.bind(5, std::int64_t(getpid())).run();
}

bool Tables::renew(const std::string& name, Instant now, Instant until) {
  renew_.bind(1, std::string_view(name)).bind(2, ms(now)).bind(3, ms(until)).run();
  return db_.changes() == 1;
}

void Tables::remove_instance(const std::string& name) {
  delete_instance_.bind(1, std::string_view(name)).run();
}

bool Tables::owns_in_flight(const std::string& name) {
  Resetting guard(owns_in_flight_);
  return owns_in_flight_.bind(1, std::string_view(name)).step();
}

bool is_alive(const Tables::Instance& instance, const OwnerLocks& locks, Instant now) {
  return instance.lease_until > now && locks.held(instance.slot);
}

Found find_there(Tables& tables, const OwnerLocks& locks, const Digest& id, Instant now) {
  Found found{tables.find(id), now, false};
  if (found.record && found.record->state == State::in_flight) {
    const auto owner = tables.instance(found.record->owner);
    found.owner_alive = owner && is_alive(*owner, locks, now);
  }
  return found;
}

}  // namespace ledger::sqlite
