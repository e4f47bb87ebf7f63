// SPDX-License-Identifier: Apache-2.0
// The lock's protocol for spin: N agents, a ConfigMap, clocks that drift, and everything that may go wrong.
//
// README.md beside this file says what is covered, what is assumed and what is not. The agents' names here are those of
// design.md. One option of `agent` is one thing an agent does without being interrupted; between two options any of the others
// may do anything, and time may pass: that is how pauses and delays come about.

#ifndef N
#define N 3  // Agents, each on its node.
#endif
#ifndef C
#define C 1  // The Plan's concurrency.
#endif
#ifndef TTL
#define TTL 12  // A slot's time to live, in ticks.
#endif
#define FENCE (TTL * 2 / 3)  // Older than this by the holder's clock: nothing disruptive is begun.
#ifndef DRIFT
#define DRIFT 1  // By so many ticks a clock may be wrong about a time to live.
#endif
#ifndef STEP
#define STEP (TTL - FENCE - 2 * DRIFT - 1)  // A disruptive step's longest time: the margin less what two clocks drift.
#endif

// Clocks: all count the same ticks, and each is taken to be wrong where that does most harm. A holder's is slow, an observer's
// is fast. Whatever another clock would allow is allowed by these, too, for nobody has to act at once.
#define BY_SLOW_CLOCK(ticks) ((ticks) - DRIFT)
#define BY_FAST_CLOCK(ticks) ((ticks) + DRIFT)

// What follows takes one rule away each; README.md names them.
#ifdef NO_FENCE
#define HELD_FOR_CERTAIN true
#else
#define HELD_FOR_CERTAIN (BY_SLOW_CLOCK(since[me]) <= FENCE)
#endif
#ifdef NO_CAS
#define CURRENT true
#else
#define CURRENT (!stale[me])
#endif
#if defined(NEVER_RUNS_OUT)
#define AGE(by, of) 0
#elif defined(WALL_CLOCKS)
// Node 0's clock is right, node 1's a time to live ahead, and so on.
#define AGE(by, of) (BY_FAST_CLOCK(seen[(by) * N + (of)]) + TTL * (by) - TTL * (of))
#else
#define AGE(by, of) BY_FAST_CLOCK(seen[(by) * N + (of)])
#endif
#ifdef LATE_AT_TTL
#define LATE (BY_SLOW_CLOCK(since[me]) >= TTL)
#define OLDEST (TTL + DRIFT)
#else
#define LATE (BY_SLOW_CLOCK(since[me]) > FENCE)
#define OLDEST (FENCE + DRIFT + 1)
#endif

#define IDLE 0     // Waits for a slot, or has nothing to do.
#define HOLDING 1  // Has a slot, between two steps.
#define TAKING_AWAY 2  // In a disruptive step before the restart: cordon, a round of evictions, swap.
#define RESTARTING 3   // In the restart of k3s.
#define THROUGH 4      // k3s was restarted: health, uncordon, label, or the way back; then the slot is given back or marked.
#define UNDOING 5      // Puts the node right, takes nothing away; then the slot is given back.
#define LEFT 6         // Died in the restart, and its lease has run out since.

#define NOTHING 0
#define TAKE 1
#define RENEW 2
#define RETURN 3
#define FAIL 4

byte phase[N];
bit dead[N];
// The ConfigMap: who has a key, and is it Failed.
bit key[N];
bit failed[N];
// The one request of an agent that may be on its way, whether the ConfigMap was written since it was decided, for how long it
// is on its way, and whether nobody waits for its answer any more.
byte request[N];
bit stale[N];
byte sent[N];
bit orphan[N];
// How long ago the last renewal whose answer came was decided, by the holder's clock.
byte since[N];
// seen[by * N + of]: for how long `by` sees the same renewal in the key of `of`, by the clock of `by`.
byte seen[N * N];
// For how long a step has lasted, by nobody's clock.
byte lasted[N];
#ifdef LATE_SIGHT
bit unseen[N * N];  // Written since `by` last looked.
#endif
#ifdef LIVE
bit done[N];
bit died;
#endif

// Counters of loops; zero between the options, so that they make no states.
byte i;
byte j;

#define OCCUPIES(by, of) ((of) != (by) && key[of] && (failed[of] || AGE(by, of) < TTL))
#define FAILED_TO(by, of) ((of) != (by) && key[of] && failed[of])
#define IN_STEP(of) (phase[of] == TAKING_AWAY || phase[of] == RESTARTING)
#define GAVE_BACK(of) ((phase[of] == UNDOING || phase[of] == THROUGH) && !key[of])
#define BUSY(of) (phase[of] != IDLE && !GAVE_BACK(of))
#if N == 2
#define SUM(what) (what(0) + what(1))
#define SUM_BY(what, by) (what(by, 0) + what(by, 1))
#define ALL(what) (what(0) && what(1))
#else
#define SUM(what) (what(0) + what(1) + what(2))
#define SUM_BY(what, by) (what(by, 0) + what(by, 1) + what(by, 2))
#define ALL(what) (what(0) && what(1) && what(2))
#endif

#ifdef OWN_KEY_FIRST
// By its own observer its key is not run out: after a start it sees it for the first time.
#define ROOM(by) ((key[by] && !failed[by]) || SUM_BY(OCCUPIES, by) < C)
#else
#define ROOM(by) (SUM_BY(OCCUPIES, by) < C)
#endif

// What is not allowed to go wrong, by configuration.
#ifdef LIVE
// Nothing does but one agent's death, everybody has one upgrade to do, and nobody dawdles: time passes only while a step lasts
// or all who are left wait for a slot.
#define WANTS !done[me]
#define DUE (since[me] >= 1)
#define MAY_DRAIN false
#define CAN_FAIL (stale[me] || orphan[me])
#define MAY_DIE (me == 0 && !died)
#define MAY_WAIT(who)                                                                    \
    (dead[who] || (request[who] == NOTHING && (IN_STEP(who) || (phase[who] == IDLE && (done[who] || !ROOM(who))))))
#else
#define WANTS true
#define DUE true
#define MAY_DRAIN true
#define CAN_FAIL true
#define MAY_DIE true
#ifdef CALM
// Nobody dies, and each holder gets a renewal through before anybody's clock can find its lease run out.
#define YOUNG(by, of) (seen[(by) * N + (of)] + 2 < TTL)
#define MAY_WAIT(who) (request[who] == NOTHING && (phase[who] == IDLE || SUM_BY(YOUNG_TO, who) == N))
#define YOUNG_TO(of, by) (YOUNG(by, of))
#else
#ifdef PROMPT
#define MAY_WAIT(who) (request[who] == NOTHING)
#else
#define MAY_WAIT(who) true
#endif
#endif
#endif

#ifdef CLOCK_STOPS
#define RUNS(who) (who != 0)  // Node 0's clock stands still while the host is suspended, which is always.
#else
#define RUNS(who) true
#endif

// From these a restarted agent may go on to the restart of k3s, and asks how old its own renewal is.
#define RESUMES(who) (phase[who] == HOLDING || phase[who] == RESTARTING || phase[who] == LEFT)
#define ASKS_ITS_AGE(who) (RESUMES(who) || phase[who] == TAKING_AWAY)

// A clock's tick: everything that is counted by it grows, up to where it makes no difference any more.
inline advance(who) {
    if
    :: RUNS(who) && since[who] < OLDEST && (phase[who] == HOLDING || phase[who] == TAKING_AWAY) && !dead[who] -> since[who]++
    :: else
    fi;
    if
    :: request[who] != NOTHING && !orphan[who] && sent[who] < OLDEST -> sent[who]++
    :: else
    fi;
    j = 0;
    do
    :: j == N -> break
    :: else ->
        if
#ifdef LATE_SIGHT
        :: unseen[who * N + j]
#endif
        :: j == who && key[j] && seen[who * N + j] < OLDEST && ASKS_ITS_AGE(who) -> seen[who * N + j]++
        :: j != who && key[j] && !failed[j] && !dead[who] && BY_FAST_CLOCK(seen[who * N + j]) < TTL -> seen[who * N + j]++
        :: else
        fi;
        j++
    od;
    j = 0
}

// The ConfigMap was written: requests decided before are stale, and the writer's key begins anew for all who look at it. Its
// own agent knows when it was decided: that is what `renewed` says.
inline written(by) {
    i = 0;
    do
    :: i == N -> break
    :: else ->
        if
        :: request[i] != NOTHING -> stale[i] = 1
        :: else
        fi;
        seen[i * N + by] = 0;
#ifdef LATE_SIGHT
        unseen[i * N + by] = (i != by && key[by] && !failed[by] && !dead[i]);
#endif
        i++
    od;
#ifndef LATE_RENEWAL_NOT_MARKED
    seen[by * N + by] = (key[by] && !failed[by] && ASKS_ITS_AGE(by) -> sent[by] : 0);
#endif
    i = 0
}

inline send(what) {
    request[me] = what;
    stale[me] = 0;
    sent[me] = 0
}

inline forget_request() {
    request[me] = NOTHING;
    stale[me] = 0;
    sent[me] = 0;
    orphan[me] = 0
}

inline become(what) {
    phase[me] = what;
    lasted[me] = 0;
    if
    :: what != HOLDING && what != TAKING_AWAY -> since[me] = 0
    :: else
    fi;
    if
    :: !ASKS_ITS_AGE(me) -> seen[me * N + me] = 0
    :: else
    fi;
    skip // A d_step must not end in a choice.
}

// The invariant. An agent that died in a step counts until its lease has run out: see `time`.
inline begin(what) {
    become(what);
    assert(SUM(IN_STEP) <= C)
}

inline look() {
#ifdef LATE_SIGHT
    i = 0;
    do
    :: i == N -> break
    :: else ->
        unseen[me * N + i] = 0;
        i++
    od;
#endif
    i = 0
}

#ifdef CALM
#define RENEWS(who) (phase[who] != IDLE)
#else
#define RENEWS(who) (phase[who] != IDLE && phase[who] != UNDOING)
#endif
#define NEWS (SUM_BY(IS_NEWS, me) > 0)
#define IS_NEWS(by, of) unseen[(by) * N + (of)]
#define FREE (!dead[me] && request[me] == NOTHING)
#define MAY_TAKE (FREE && phase[me] == IDLE && !(key[me] && failed[me]) && WANTS && ROOM(me))
#define MAY_RENEW (FREE && RENEWS(me) && key[me] && !failed[me] && DUE)
#define MAY_RETURN (FREE && (phase[me] == UNDOING || phase[me] == THROUGH) && key[me])
#define MAY_FAIL (FREE && phase[me] == THROUGH)

inline decide_renewal() {
    send(RENEW);
    if
    // It ran out, maybe: it is renewed for those who count, and neither this process nor the next relies on it again.
    :: (phase[me] == HOLDING || phase[me] == TAKING_AWAY) && LATE -> sent[me] = OLDEST
    :: else
    fi
}

// The request reaches the API server.
inline arrive() {
    if
    :: request[me] == TAKE ->
        assert(SUM_BY(FAILED_TO, me) < C);
        key[me] = 1
    :: request[me] == RETURN -> key[me] = 0; failed[me] = 0
    :: request[me] == FAIL -> key[me] = 1; failed[me] = 1
    :: else
    fi;
    if
    :: request[me] == RENEW && !key[me] // Nothing is written: the key was removed.
    :: else -> written(me)
    fi
}

// The answer reaches the agent.
inline answer() {
    if
    :: request[me] == TAKE ->
        since[me] = sent[me];
        phase[me] = HOLDING;
        seen[me * N + me] = sent[me];
#if defined(CALM) || defined(COUNT_FROM_TAKE_TO_RETURN)
        assert(SUM(BUSY) <= C)
#endif
    :: request[me] == RENEW && key[me] && (phase[me] == HOLDING || phase[me] == TAKING_AWAY) -> since[me] = sent[me]
    :: request[me] == RETURN ->
#ifdef LIVE
        done[me] = (phase[me] == THROUGH);
#endif
        become(IDLE)
    :: request[me] == FAIL -> become(IDLE)
    :: else
    fi;
    forget_request()
}

active [N] proctype agent() {
    byte me = _pid;
    do
    // Reads the lock, decides, and sends what it decided.
    :: d_step { MAY_TAKE ->
        look();
        send(TAKE)
    }
#ifndef PROMPT
    :: d_step { MAY_RENEW -> decide_renewal(); skip }
    :: d_step { MAY_RETURN -> send(RETURN) }
#ifndef LIVE
    :: d_step { MAY_FAIL -> send(FAIL) }
#endif
#else
    // Nothing comes between a decision and its write: otherwise it would be stale, or as good as decided later.
    :: d_step { MAY_RENEW -> decide_renewal(); arrive(); answer() }
    :: d_step { MAY_RENEW -> decide_renewal(); arrive(); forget_request() }
    :: d_step { MAY_RETURN -> send(RETURN); arrive(); answer() }
    :: d_step { MAY_RETURN -> send(RETURN); arrive(); forget_request() }
    :: d_step { MAY_FAIL -> send(FAIL); arrive(); answer() }
    :: d_step { MAY_FAIL -> send(FAIL); arrive(); forget_request() }
#endif
    :: d_step { request[me] != NOTHING && CURRENT && !orphan[me] -> arrive(); answer() }
#ifndef LIVE
    // The answer is lost, or nobody is there any more to get it.
    :: d_step { request[me] != NOTHING && CURRENT -> arrive(); forget_request() }
#endif
    // A conflict, or the request never came there: the agent decides anew.
    :: d_step { request[me] != NOTHING && CAN_FAIL -> forget_request() }
    // There is nothing to give back: an answer was lost, or the key was removed.
    :: d_step { FREE && (phase[me] == UNDOING || phase[me] == THROUGH) && !key[me] -> become(IDLE) }

    // The fence, and right behind it the step. What lies between the two is part of the step's time.
    :: d_step { !dead[me] && phase[me] == HOLDING && HELD_FOR_CERTAIN && MAY_DRAIN -> begin(TAKING_AWAY) }
    :: d_step { !dead[me] && phase[me] == HOLDING && HELD_FOR_CERTAIN -> begin(RESTARTING) }
#ifndef NO_FENCE
    :: d_step { !dead[me] && phase[me] == HOLDING && !HELD_FOR_CERTAIN -> become(UNDOING) }
#endif
    // A step ends, or fails.
    :: d_step { !dead[me] && phase[me] == TAKING_AWAY -> lasted[me] = 0; phase[me] = HOLDING }
    :: d_step { !dead[me] && phase[me] == RESTARTING -> become(THROUGH) }
#ifndef LIVE
    :: d_step { !dead[me] && phase[me] == HOLDING -> become(UNDOING) }
#endif
#ifdef ROLLBACK_COUNTS
    :: d_step { !dead[me] && phase[me] == THROUGH -> begin(RESTARTING) }
#endif

#if !defined(NO_CRASH)
    // kill -9, at any point. What it knew is gone; the ConfigMap, the journal and what was sent are not.
    :: d_step { !dead[me] && (phase[me] != IDLE || request[me] != NOTHING) && MAY_DIE ->
        dead[me] = 1;
        since[me] = 0;
        lasted[me] = 0;
        orphan[me] = (request[me] != NOTHING);
#ifdef LIVE
        died = 1;
#endif
        i = 0;
        do
        :: i == N -> break
        :: else ->
            if
            :: i != me ->
                seen[me * N + i] = 0;
#ifdef LATE_SIGHT
                unseen[me * N + i] = 0
#endif
            :: else
            fi;
            i++
        od;
        i = 0
    }
#endif
#if !defined(NO_CRASH) && !defined(LIVE)
    // The next start, and what the journal says: nothing yet; undo; go on with the restart, if the renewal is fresh enough by
    // the host's own clock (the fence is asked, as ever); go on behind it.
    :: d_step { dead[me] && phase[me] == IDLE -> dead[me] = 0 }
    :: d_step { dead[me] && phase[me] == HOLDING -> dead[me] = 0; become(IDLE) }
    :: d_step { dead[me] && (phase[me] == HOLDING || phase[me] == TAKING_AWAY || phase[me] == UNDOING) ->
        dead[me] = 0;
        become(UNDOING)
    }
    :: d_step { dead[me] && RESUMES(me) ->
        dead[me] = 0;
#ifdef RESUMED_SLOT_IS_NEW
        since[me] = (key[me] && BY_SLOW_CLOCK(seen[me * N + me]) <= FENCE -> 0 : OLDEST);
#else
        since[me] = (key[me] -> seen[me * N + me] : OLDEST);
#endif
        become(HOLDING)
    }
    :: d_step { dead[me] && (phase[me] == RESTARTING || phase[me] == LEFT || phase[me] == THROUGH) ->
        dead[me] = 0;
        become(THROUGH)
    }
#ifdef RESUME_RESTARTS
    :: d_step { dead[me] && (phase[me] == RESTARTING || phase[me] == LEFT) -> dead[me] = 0; begin(RESTARTING) }
#endif
#ifdef RESUME_WITHOUT_ANSWER
    :: d_step { dead[me] && phase[me] == HOLDING -> dead[me] = 0; begin(RESTARTING) }
#endif
#endif
#ifndef LIVE
    // The Plan changes, or an administrator releases what failed.
    :: d_step { key[me] && failed[me] -> key[me] = 0; failed[me] = 0; written(me) }
#endif
#ifdef RELEASED_ALIVE
    :: d_step { key[me] && !failed[me] -> key[me] = 0; written(me) }
#endif
#ifdef LATE_SIGHT
    :: d_step { !dead[me] && NEWS -> look() }
#endif
    od
}

// The step's bound: the assumption that README.md names.
#ifdef UNBOUNDED_STEP
#define STEP_MAY_LAST(who) true
#else
#define STEP_MAY_LAST(who) (!IN_STEP(who) || dead[who] || lasted[who] < STEP)
#endif

#define RAN_OUT(of, by) ((by) != (of) && key[of] && AGE(by, of) >= TTL)

active proctype time() {
    byte who;
    do
    :: d_step { ALL(STEP_MAY_LAST) && ALL(MAY_WAIT) ->
        who = 0;
        do
        :: who == N -> break
        :: else ->
            advance(who);
            if
            :: IN_STEP(who) && !dead[who] && lasted[who] < STEP -> lasted[who]++
            :: else
            fi;
            who++
        od;
        // Who died in a step counts as long as its lease: what it left behind is nobody's doing any more.
        who = 0;
        do
        :: who == N -> break
        :: else ->
            if
            :: dead[who] && phase[who] == TAKING_AWAY && SUM_BY(RAN_OUT, who) > 0 -> phase[who] = UNDOING; seen[who * N + who] = 0
            :: dead[who] && phase[who] == RESTARTING && SUM_BY(RAN_OUT, who) > 0 -> phase[who] = LEFT
            :: else
            fi;
            who++
        od;
        who = 0
    }
    od
}

#ifdef LIVE
#define SERVED(who) (done[who] || dead[who])
ltl everybody_gets_a_turn { <> (ALL(SERVED)) }
#endif
