#include "tests/plan/port_plans_support.h"

namespace tutti::plan::testing {

std::vector<Plan> build_all(Collective collective, const Nodes& nodes, Build build, uint16_t credits) {
  std::vector<Plan> plans;
  for (uint16_t r = 0; r < nodes.size(); ++r) {
    const Shape shape{.ranks = static_cast<uint16_t>(nodes.size()),
                      .rank = r,
                      .root = 0,
                      .credits = credits,
                      .nodes = nodes};
    const auto algorithm = collective == Collective::broadcast ? Algorithm::one_writer : Algorithm::two_shot;
    Builder builder(collective, algorithm, shape);
    build(builder);
    plans.push_back(builder.take());
  }
  return plans;
}

void relay(Builder& b) {
  b.areas(1).claim().block();
  if (b.rank() == 0) {
    b.wait_pair_credit(1, kFree).put({}, b.input(), {b.slot(1, 0)}).signal_pair(1, kData);
    b.copy({}, b.input(), {b.output()});
  } else if (b.rank() == 1) {
    b.wait_pair(0, kData).wait_pair_credit(2, kFree);
    b.put({}, b.slot(1, 0), {b.output(), b.slot(2, 0)}).signal_pair(2, kData);
    b.flush(2).signal_pair(0, kFree);
  } else {
    b.wait_pair(1, kData).copy({}, b.slot(2, 0), {b.output()}).signal_pair(1, kFree);
  }
}

void exchange(Builder& b) {
  const int peer = 1 - b.rank();
  const Location operands[] = {b.rank() == 0 ? b.input() : b.slot(b.rank(), 0),
                               b.rank() == 0 ? b.slot(b.rank(), 0) : b.input()};
  b.areas(1).claim().block();
  b.wait_pair_credit(peer, kFree).put({}, b.input(), {b.slot(peer, 0)}).signal_pair(peer, kData);
  b.wait_pair(peer, kData).flush(peer).reduce({}, operands, {b.output()}, true).signal_pair(peer, kFree);
}

void star(Builder& b) {
  b.areas(1).claim().block();
  for (int peer = 1; peer < b.ranks() && b.rank() == 0; ++peer) {
    b.put({}, b.input(), {b.slot(peer, 0)}).signal_pair(peer, kData);
  }
  if (b.rank() == 0) {
    b.copy({}, b.input(), {b.output()});
  } else {
    b.wait_pair(0, kData).copy({}, b.slot(b.rank(), 0), {b.output()});
  }
}

}  // namespace tutti::plan::testing
