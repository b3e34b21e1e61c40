"""Transfers, decided without touching anything: asked for, landing, given back, buried.

`post`, `land`, `acknowledge`, `bury` and `open_accounts` apply the rules of `rules.py` in the order of
arrival and fill a `Draft`. Nothing here waits, reads a clock or draws a number by chance: the same
books and the same requests make the same draft.

Never here: PostgreSQL, gRPC, queues, customers, tokens.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from services.domain.outcomes import Outcome, Refusal
from services.ledger.books import (
    AccountState,
    Answers,
    CapKey,
    Decision,
    Flag,
    Kind,
    Leg,
    PlaceError,
    Special,
    TransferRow,
    Transfers,
)
from services.ledger.draft import Draft
from services.ledger.fees import post_with_fee
from services.ledger.rules import credit_refusal, debit_refusal, first_refusal, payer_refusal, transit_refusal
from services.ledger.specials import post_special, relate, special_refusal, waits_for_original
from services.ledger.spending import spend, spending_refusal
from services.ledger.traffic import Crossing, Crossings

# Plain integers: an operator of an IntFlag, or an attribute of an IntEnum, costs as much as a rule.
_ASKED: Final = int(Kind.ASKED)
_POSTED: Final = int(Outcome.POSTED)
_REFUSED: Final = int(Outcome.REFUSED)
_IN_TRANSIT: Final = int(Outcome.IN_TRANSIT)


def post(draft: Draft, transfers: Transfers) -> Answers:
    """Decide transfers in order: each all of its legs or none."""
    count = len(transfers.transfer_ids)
    answers = Answers([0] * count, [0] * count, [0] * count, {}, {})
    outcomes, refusals, times = answers.outcomes, answers.refusals, answers.booking_times_us
    references, value_dates, peers = transfers.references, transfers.value_dates, transfers.peers
    errors, payee_refusals, actor_ids = transfers.errors, transfers.payee_refusals, transfers.actor_ids
    further_legs, specials = transfers.further_legs, transfers.specials
    rarities = bool(further_legs or specials or transfers.creditors or transfers.metadata)
    decisions, state, meaning = draft.decisions, draft.state, draft.meaning
    business_date, now = draft.business_date, draft.booking_time_us
    append = draft.transfers.append
    for place, plain in enumerate(_plainly(transfers)):
        transfer_id, debit_account, credit_account, amount, currency, fingerprint = plain
        before = meaning(transfer_id)
        if before is not None:
            _repeat(answers, place, before, fingerprint, further_legs.get(place, ()))
            continue
        special = specials.get(place) if specials else None
        if special is not None and waits_for_original(draft, special):
            answers.errors[place] = PlaceError.ORIGINAL_IN_TRANSIT
            continue
        if errors and place in errors:
            answers.errors[place] = errors[place]
            continue
        # From here on the id gets its outcome for ever.
        sequence = draft.sequence + 1
        draft.sequence = sequence
        peer_id = peers[place] if peers is not None else 0
        further = further_legs.get(place) if further_legs else None
        debit = state(debit_account)
        if debit is None:
            refusal: int = Refusal.DEBIT_ACCOUNT_NOT_FOUND
        else:
            if special is not None:
                legs = (Leg(debit_account, credit_account, amount, currency), *(further or ()))
                refusal = special_refusal(draft, special, debit, legs)
            else:
                refusal = debit_refusal(debit, amount, currency)
                if not refusal and (debit.allowance is not None or debit.is_capped):
                    refusal = spending_refusal(draft, debit, amount)
            credit = None
            if payee_refusals and place in payee_refusals:
                refusal = first_refusal(refusal, payee_refusals[place])
            elif not peer_id:
                credit = state(credit_account)
                refusal = first_refusal(refusal, credit_refusal(credit, amount, currency))
            elif not refusal:
                credit = draft.transit(peer_id, currency)
                refusal = transit_refusal(credit, amount)
            if not refusal:
                assert credit is not None
                if further is not None:
                    refusal = _post_legs(draft, debit, credit, amount, sequence, further, special)
                elif special is not None:
                    post_special(draft, special, debit, credit, amount, sequence)
                else:
                    draft.move(debit, credit, amount, sequence)
                    if debit.allowance is not None or debit.is_capped:
                        spend(draft, debit, amount, 1)
        value_date = (value_dates[place] if value_dates is not None else 0) or business_date
        if value_date != business_date and not refusal:
            draft.note_value_date(sequence, value_date)
        number = 0
        if refusal:
            outcome = _REFUSED
            peer_id = 0
        elif peer_id:
            outcome = _IN_TRANSIT
            number = draft.send(peer_id, sequence)
            answers.crossings[place] = (peer_id, number)
        else:
            outcome = _POSTED
        # fmt: off
        append(
            TransferRow(
                sequence, transfer_id, debit_account, credit_account, amount, fingerprint, value_date, currency,
                _ASKED, outcome, refusal, 1 if further is None else 1 + len(further),
                references[place] if references is not None else "",
                actor_ids[place] if actor_ids is not None else 0,
                0 if special is None else special.flags,
            )
        )
        # fmt: on
        has_fee = further is not None and further[-1].is_fee
        decisions[transfer_id] = Decision(fingerprint, _ASKED, outcome, refusal, now, peer_id, number, has_fee)
        outcomes[place], refusals[place], times[place] = outcome, refusal, now
        if rarities:
            _take_rarities(draft, transfers, answers, place, sequence)
    return answers


def _plainly(transfers: Transfers) -> Iterable[tuple[bytes, int, int, int, int, int]]:
    """Give what every transfer has, one by one: id, payer, payee, amount, currency, fingerprint."""
    return zip(
        transfers.transfer_ids,
        transfers.debit_accounts,
        transfers.credit_accounts,
        transfers.amounts_minor,
        transfers.currencies,
        transfers.fingerprints,
        strict=True,
    )


def _take_rarities(draft: Draft, transfers: Transfers, answers: Answers, place: int, sequence: int) -> None:
    """Record what few transfers have: another bank's creditor, metadata, a hold or an original, further legs."""
    further, special = transfers.further_legs.get(place, ()), transfers.specials.get(place)
    refusal = answers.refusals[place]
    if place in transfers.creditors:
        draft.creditors.append((sequence, transfers.creditors[place]))
    if place in transfers.metadata:
        draft.metadata.append((sequence, transfers.metadata[place]))
    if special is not None and not refusal:
        amount = transfers.amounts_minor[place] + sum(leg.amount_minor for leg in further if not leg.is_fee)
        relate(draft, special, sequence, amount)
    draft.take_further_legs(sequence, further)
    if refusal and further and not further[0].is_fee:
        if not draft.spans.refused_legs or draft.spans.refused_legs[-1][0] != sequence:
            draft.spans.refused_legs.append((sequence, 0))
        leg = answers.refused_legs[place] = draft.spans.refused_legs[-1][1]
        transfer_id = transfers.transfer_ids[place]
        draft.decisions[transfer_id] = draft.decisions[transfer_id]._replace(leg=leg)


def _repeat(answers: Answers, place: int, before: Decision, fingerprint: int, further: Sequence[Leg]) -> None:
    """Answer an id that already has an outcome: the first one, or that it names something else."""
    if before.kind != Kind.BURIED and (before.kind != Kind.ASKED or before.fingerprint != fingerprint):
        answers.errors[place] = PlaceError.TRANSFER_ID_REUSED
        return
    answers.outcomes[place] = before.outcome
    answers.refusals[place] = before.refusal
    if before.leg >= 0:
        answers.refused_legs[place] = before.leg
    answers.booking_times_us[place] = before.booking_time_us
    if before.has_fee or (further and further[-1].is_fee):
        answers.repeats.append(place)
    if before.outcome == Outcome.IN_TRANSIT:
        answers.crossings[place] = (before.peer_id, before.number)


def _post_legs(
    draft: Draft,
    debit: AccountState,
    credit: AccountState,
    amount: int,
    sequence: int,
    further: Sequence[Leg],
    special: Special | None,
) -> int:
    """Post a first leg that nothing speaks against, then the others in order; undo all when one is refused."""
    if len(further) == 1 and further[0].is_fee:
        return post_with_fee(draft, debit, credit, amount, sequence, further[0], special)
    saved = draft.save((debit.number, credit.number, *(number for leg in further for number in leg[:2])))
    is_spending = special is None or special.original_id is None
    is_limited = is_spending and not (special is not None and special.flags & Flag.LIMITS_OVERRIDDEN)
    draft.move(debit, credit, amount, sequence)
    if is_spending:
        spend(draft, debit, amount, 1)
    for place, leg in enumerate(further, 1):
        payer, payee = draft.state(leg.debit_account), draft.state(leg.credit_account)
        if payer is None:
            refusal: int = Refusal.DEBIT_ACCOUNT_NOT_FOUND
        else:
            if special is not None and special.flags & Flag.OVERDRAW:
                refusal = payer_refusal(payer, leg.currency)
            else:
                refusal = debit_refusal(payer, leg.amount_minor, leg.currency)
            if not refusal and is_limited and not leg.is_fee:
                refusal = spending_refusal(draft, payer, leg.amount_minor)
            refusal = first_refusal(refusal, credit_refusal(payee, leg.amount_minor, leg.currency))
        if refusal:
            draft.undo(saved)
            draft.spans.refused_legs.append((sequence, place))
            return refusal
        assert payer is not None and payee is not None
        draft.move(payer, payee, leg.amount_minor, sequence + place)
        if is_spending and not leg.is_fee:
            spend(draft, payer, leg.amount_minor, 1)
    return 0


def bury(
    draft: Draft,
    transfer_ids: Sequence[bytes],
    accounts: Sequence[int],
    actor_id: int = 0,
    refusal: int = Refusal.REVERSED_BEFORE_ARRIVAL,
) -> list[bool]:
    """Refuse beforehand whatever may come under ids that mean nothing yet; True where an id was buried.

    A reversal that arrives before its original does this, so that the original cannot follow; so does the
    refusal of what was promised, or not even that.
    """
    buried = []
    for transfer_id, account in zip(transfer_ids, accounts, strict=True):
        is_new = draft.meaning(transfer_id) is None
        buried.append(is_new)
        if not is_new:
            continue
        draft.sequence += 1
        draft.transfers.append(
            TransferRow(
                draft.sequence,
                transfer_id,
                account,
                0,
                0,
                0,
                draft.business_date,
                0,
                Kind.BURIED,
                _REFUSED,
                refusal,
                1,
                "",
                actor_id,
            )
        )
        draft.decisions[transfer_id] = Decision(0, Kind.BURIED, _REFUSED, refusal, draft.booking_time_us, 0, 0)
    return buried


def land(draft: Draft, crossings: Crossings) -> None:
    """Land a peer's crossings that have not landed yet: credit each payee, or remember why not.

    Crossings at or below the watermark are passed over; when there is a gap above it, nothing lands.
    """
    count = len(crossings.transfer_ids)
    skip = draft.watermarks(crossings.peer_id).landed_through + 1 - crossings.first_number
    if skip < 0 or skip >= count:
        return
    marks = draft.own_watermarks(crossings.peer_id)
    first_sequence = draft.sequence + 1
    draft.crossings_landed.append(
        (marks.landed_through + 1, crossings.first_number + count - 1, first_sequence, crossings.peer_id)
    )
    for place in range(skip, count):
        draft.sequence += 1
        transfer_id = crossings.transfer_ids[place]
        amount, currency = crossings.amounts_minor[place], crossings.currencies[place]
        credit = draft.state(crossings.credit_accounts[place])
        transit = draft.transit(crossings.peer_id, currency)
        refusal = credit_refusal(credit, amount, currency) or transit_refusal(transit, -amount)
        before = draft.meaning(transfer_id)
        if before is not None:
            is_buried = before.kind == Kind.BURIED
            taken = Refusal.REVERSED_BEFORE_ARRIVAL if is_buried else Refusal.TRANSFER_ID_TAKEN
            refusal = first_refusal(refusal, taken)
        if refusal:
            draft.crossings_refused.append((crossings.first_number + place, crossings.peer_id, refusal))
            continue
        assert credit is not None
        draft.move(transit, credit, amount, draft.sequence)
        if crossings.value_dates[place] != draft.business_date:
            draft.note_value_date(draft.sequence, crossings.value_dates[place])
        draft.transfers.append(
            TransferRow(
                draft.sequence,
                transfer_id,
                crossings.debit_accounts[place],
                crossings.credit_accounts[place],
                amount,
                0,
                crossings.value_dates[place],
                currency,
                Kind.LANDING,
                Outcome.POSTED,
                0,
                1,
                crossings.references[place],
                0 if crossings.actor_ids is None else crossings.actor_ids[place],
            )
        )
        if place in crossings.metadata:
            draft.metadata.append((draft.sequence, crossings.metadata[place]))
        draft.decisions[transfer_id] = Decision(0, Kind.LANDING, Outcome.POSTED, 0, draft.booking_time_us, 0, 0)
    marks.landed_through = crossings.first_number + count - 1


def acknowledge(draft: Draft, peer_id: int, landed_through: int, refused: Sequence[tuple[Crossing, int]]) -> None:
    """Take a peer's word on how far crossings have landed and give the refused ones back to their payers.

    A return is not refused: whatever became of the payer's account, the money is the payer's.
    """
    before = draft.watermarks(peer_id)
    if landed_through <= before.acknowledged_through:
        return
    assert landed_through <= before.sent_through, "a peer acknowledged what was never sent"
    marks = draft.own_watermarks(peer_id)
    for crossing, refusal in refused:
        if crossing.number <= marks.acknowledged_through:
            continue
        payer = draft.state(crossing.debit_account)
        assert payer is not None, "a crossing left from an account that is not here"
        draft.sequence += 1
        sequence = draft.sequence
        draft.move(draft.transit(peer_id, crossing.currency), payer, crossing.amount_minor, sequence)
        draft.transfers.append(
            TransferRow(
                sequence,
                crossing.transfer_id,
                crossing.credit_account,
                crossing.debit_account,
                crossing.amount_minor,
                0,
                draft.business_date,
                crossing.currency,
                Kind.RETURN,
                Outcome.POSTED,
                0,
                1 + len(crossing.further),
                crossing.reference,
            )
        )
        for leg in crossing.further:
            draft.sequence += 1
            giver, taker = draft.state(leg.credit_account), draft.state(leg.debit_account)
            assert giver is not None and taker is not None
            draft.move(giver, taker, leg.amount_minor, draft.sequence)
            draft.further_legs.append((draft.sequence, sequence, leg.turned()))
        draft.crossings_returned.append((crossing.number, sequence, peer_id, refusal))
    marks.acknowledged_through = landed_through


def open_accounts(draft: Draft, openings: Sequence[AccountState]) -> list[bool]:
    """Put accounts into the books; True where the account is there now with these facts."""
    results = []
    for opening in openings:
        state = draft.state(opening.number)
        if state is None:
            state = opening.copy()
            cap = draft.cap(CapKey(state.customer_number, state.currency))
            state.is_capped = cap is not None and cap.day_minor_max >= 0
            draft.touched[state.number] = state
            draft.opened.append(state)
            if state.allowance is not None:
                draft.altered.add(state.number)
        results.append(
            state.currency == opening.currency
            and state.floor_minor == opening.floor_minor
            and state.customer_number == opening.customer_number
        )
    return results
