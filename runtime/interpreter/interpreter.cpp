// The population machine: runs the bytecode of many rules, each over many replicas, without compiling any of them.
//
// What stands at the line `operations` is printed from the op table. Numbers are of type A. A tile is summed in A over
// fixed lanes; sums over tiles and units are taken in double and in order, so that results depend neither on the number
// of threads nor on what else runs in the same call.

constexpr int64_t LANES = 32;  // partial sums of a tile

struct Batch {
    const Member* members;
    const int64_t *member_of, *row_of, *place_of;  // of each replica: its rule, its row there, its row in w and g
    void* w;
    const void* g;
    void* scratch;
    double* partials;
    int64_t step, replicas, width, scratch_stride, partial_stride;
    int64_t most_values, most_reductions, most_registers, threads;
};

// Reductions and broadcasts.

template <int how, typename A> inline double folded(const A* const x, const int64_t n) {
    A lanes[LANES];
    const int64_t whole = n / LANES * LANES;
    for (int64_t k = 0; k < LANES; ++k) lanes[k] = k < n ? x[k] : start<A>(how);
    for (int64_t i = LANES; i < whole; i += LANES)
        for (int64_t k = 0; k < LANES; ++k) lanes[k] = together<A>(how, lanes[k], x[i + k]);
    for (int64_t i = std::max(whole, LANES); i < n; ++i) lanes[i - whole] = together<A>(how, lanes[i - whole], x[i]);
    for (int64_t width = LANES / 2; width; width /= 2)
        for (int64_t k = 0; k < width; ++k) lanes[k] = together<A>(how, lanes[k], lanes[k + width]);
    return double(lanes[0]);
}

template <int how, typename A>
void reduce(const Parameter& p, const Reduction& r, double* const found, const A* x, const int64_t begin,
            const int64_t end) {
    const int64_t length = group(p, r.domain, r.onto);
    for (int64_t e = begin, count; e < end; e += count, x += count) {
        const int64_t k = e / length;
        count = std::min((k + 1) * length, end) - e;
        if (r.onto != COL) {
            found[k] = together<double>(how, found[k], folded<how>(x, count));
            continue;
        }
        double* const columns = found + (e - k * length);
        for (int64_t i = 0; i < count; ++i) columns[i] = together<double>(how, columns[i], double(x[i]));
    }
}

template <typename A>
void expand(const Parameter& p, const int domain, const int from, A* to, const A* const x, const int64_t begin,
            const int64_t end) {
    const int64_t length = group(p, domain, from);
    for (int64_t e = begin, count; e < end; e += count, to += count) {
        const int64_t k = e / length;
        count = std::min((k + 1) * length, end) - e;
        if (from == COL) std::copy_n(x + k / p.rows * p.cols + (e - k * length), count, to);
        else std::fill_n(to, count, x[k]);
    }
}

// What a thread works with.
template <typename A> struct Desk {
    A* spaces[SPACES];      // of the present replica; the registers are the thread's own
    int64_t ahead[SPACES];  // how far it is from there to the next replica
    double* partials;       // of the present replica
    double** found;         // where each reduction of the present unit comes together
    A** at;                 // the operands of the present tile
    const A** next;         // the buffers of the next tile
};

// Ask for numbers ahead of their use: tiles are too short for the processor to see them coming.
template <typename A> inline void fetch(const A* const from, const int64_t n) {
    const char* const line = reinterpret_cast<const char*>(from);
    for (int64_t k = 0; k < n * int64_t(sizeof(A)); k += 64) __builtin_prefetch(line + k);
}

// The instructions of a section on entries begin to end.
template <typename A>
void tile(const Parameter& p, const Section& s, const Desk<A>& desk, const int64_t begin, const int64_t end) {
    const int64_t n = end - begin;
    A* const* const at = desk.at;
    const A* const* next = desk.next;  // one buffer with each instruction: all at once would hold up the first
    const A* const* const last_next = next + (s.domain == TENSOR ? s.moving_end - s.moving : 0);
    const Reduction* const reductions = p.code->reductions + s.reductions;
    const Instruction* const last = p.code->instructions + s.code_end;
    for (const Instruction* c = p.code->instructions + s.code; c != last; ++c) {
        if (next != last_next) fetch(*next++, n);
        switch (c->op) {
        case REDUCE + SUM: reduce<SUM>(p, reductions[c->to], desk.found[c->to], at[c->x[0]], begin, end); break;
        case REDUCE + AMAX: reduce<AMAX>(p, reductions[c->to], desk.found[c->to], at[c->x[0]], begin, end); break;
        case REDUCE + AMIN: reduce<AMIN>(p, reductions[c->to], desk.found[c->to], at[c->x[0]], begin, end); break;
        case EXPAND: expand(p, s.domain, c->x[1], at[c->to], at[c->x[0]], begin, end); break;
// operations
        }
    }
}

// Where a unit leaves what it reduces.
template <typename A>
inline double* place(const Parameter& p, const Desk<A>& desk, const int64_t reduction, const int64_t unit) {
    return desk.partials + p.partials[reduction] + unit * set_size(p, p.code->reductions[reduction]);
}

template <typename A>
void run_unit(const Parameter& p, const Section& s, const Units& units, const int64_t unit, const Desk<A>& desk) {
    const Code& code = *p.code;
    const int64_t begin = units.begin(unit), end = units.begin(unit + 1), tiles = (end - begin + TILE - 1) / TILE;
    for (int64_t k = s.reductions; k < s.reductions_end; ++k) {
        const Reduction& r = code.reductions[k];
        double* const found = desk.found[k - s.reductions] = place(p, desk, k, unit);
        const int64_t length = group(p, r.domain, r.onto);
        if (r.onto == COL) std::fill_n(found, p.cols, start<double>(r.how));
        else if (r.onto == SCALAR) *found = start<double>(r.how);
        else std::fill(found + begin / length, found + end / length, start<double>(r.how));
    }
    for (int64_t v = 0; v < code.value_count; ++v) desk.at[v] = desk.spaces[code.spaces[v]] + p.offsets[v];
    for (int64_t k = s.moving; k < s.moving_end; ++k) desk.at[code.moving[k]] += begin;
    const int64_t step = ((end - begin + tiles - 1) / tiles + 15) / 16 * 16;  // tiles of one size, in whole vectors
    for (int64_t e = begin; e < end; e += step) {
        for (int64_t k = s.moving; k < s.moving_end; ++k) {
            const int32_t v = code.moving[k];
            desk.next[k - s.moving] = desk.at[v] + (e + step < end ? step : desk.ahead[code.spaces[v]] - e);
        }
        tile(p, s, desk, e, std::min(e + step, end));
        for (int64_t k = s.moving; k < s.moving_end; ++k) desk.at[code.moving[k]] += step;
    }
}

// All units of a section together, in order; what is reduced over all parameters is left as one number.
template <typename A> void combine(const Parameter& p, const Section& s, const Units& units, const Desk<A>& desk) {
    for (int64_t k = s.reductions; k < s.reductions_end; ++k) {
        const Reduction& r = p.code->reductions[k];
        double* const found = place(p, desk, k, 0);
        A* const to = desk.spaces[p.code->spaces[r.to]] + p.offsets[r.to];
        const int64_t results = r.shared ? 1 : p.lengths[r.onto];
        for (int64_t i = 0; i < results; ++i) {
            const double value = combined(p, r, units, found, i);
            if (r.shared) found[0] = value;
            else to[i] = A(value / divisor(p, r));
        }
    }
}

// What a stage reduces over all parameters, for each of them.
template <typename A> void share(const Program& program, const Section& s, const Desk<A>& desk) {
    for (int64_t k = s.reductions; k < s.reductions_end; ++k) share_reduction<A>(program, desk, k);
}

inline int64_t thread_number() {
#ifdef _OPENMP
    return omp_get_thread_num();
#else
    return 0;
#endif
}

// A step of one replica, by one thread or by several.
template <typename A> void run_replica(const Program& program, const Desk<A>* const desks, const int64_t threads) {
    for (int64_t stage = 0; stage < program.stage_count; ++stage) {
        for (int64_t i = 0; i < program.parameter_count; ++i) {
            const Parameter& p = program.parameters[i];
            if (stage >= p.code->stage_count) continue;
            for (int64_t k = p.code->stages[stage]; k < p.code->stages[stage + 1]; ++k) {
                const Section& s = p.code->sections[k];
                const Units units(p, s.domain, UNIT);
                if (threads == 1 || units.count == 1) {
                    for (int64_t u = 0; u < units.count; ++u) run_unit(p, s, units, u, desks[0]);
                } else {
#pragma omp parallel for schedule(static) num_threads(threads)
                    for (int64_t u = 0; u < units.count; ++u) run_unit(p, s, units, u, desks[thread_number()]);
                }
                combine(p, s, units, desks[0]);
            }
        }
        const Code& code = *program.parameters[0].code;  // the only one of a rule that shares anything
        if (stage >= code.stage_count) continue;
        for (int64_t k = code.stages[stage]; k < code.stages[stage + 1]; ++k)
            share(program, code.sections[k], desks[0]);
    }
}

// Point to the memory of a replica; gradients and numbers are only read.
template <typename A> const Program& sit_down(const Batch& b, const int64_t replica, Desk<A>& desk) {
    const Member& m = b.members[b.member_of[replica]];
    const int64_t row = b.row_of[replica], place = b.place_of[replica];
    desk.spaces[PARAMETER] = static_cast<A*>(b.w) + place * b.width;
    desk.spaces[GRADIENT] = const_cast<A*>(static_cast<const A*>(b.g)) + place * b.width;
    desk.spaces[STATE] = static_cast<A*>(m.state) + row * m.state_stride;
    desk.spaces[NUMBER] =
        const_cast<A*>(static_cast<const A*>(m.numbers)) + (b.step * m.replicas + row) * m.number_stride;
    desk.ahead[PARAMETER] = desk.ahead[GRADIENT] = b.width;
    desk.ahead[STATE] = m.state_stride;
    return *m.program;
}

// A step of all replicas.
template <typename A> void run_batch(const Batch& b) {
    const bool inside = b.replicas < 4 * b.threads;  // several threads for each replica, else replicas for each thread
    std::vector<A*> at(b.threads * b.most_values);
    std::vector<const A*> next(b.threads * b.most_values);
    std::vector<double*> found(b.threads * b.most_reductions);
    std::vector<Desk<A>> desks(b.threads);
    for (int64_t i = 0; i < b.threads; ++i) {
        A* const scratch = static_cast<A*>(b.scratch);
        desks[i].spaces[REGISTER] = scratch + i * b.scratch_stride;
        desks[i].spaces[SCRATCH] = scratch + (inside ? 0 : i) * b.scratch_stride + b.most_registers * TILE;
        desks[i].partials = b.partials + (inside ? 0 : i) * b.partial_stride;
        desks[i].found = found.data() + i * b.most_reductions;
        desks[i].at = at.data() + i * b.most_values;
        desks[i].next = next.data() + i * b.most_values;
    }
    if (inside) {
        for (int64_t r = 0; r < b.replicas; ++r) {
            for (Desk<A>& desk : desks) sit_down(b, r, desk);
            run_replica(sit_down(b, r, desks[0]), desks.data(), b.threads);
        }
        return;
    }
#pragma omp parallel for schedule(dynamic, 4) num_threads(b.threads) if (b.threads > 1)
    for (int64_t r = 0; r < b.replicas; ++r) {
        Desk<A>& desk = desks[thread_number()];
        run_replica(sit_down(b, r, desk), &desk, 1);
    }
}
