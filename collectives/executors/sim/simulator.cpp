#include "collectives/executors/sim/simulator.h"

#include <algorithm>

#include "collectives/executors/sim/engine.h"

namespace tutti::sim {

Time Outcome::first_entry() const {
  return *std::min_element(entry.begin(), entry.end());
}

Time Outcome::last_entry() const {
  return *std::max_element(entry.begin(), entry.end());
}

Time Outcome::last_exit() const {
  return *std::max_element(exit.begin(), exit.end());
}

int Outcome::culprit() const {
  return static_cast<int>(std::max_element(entry.begin(), entry.end()) - entry.begin());
}

Report simulate(std::span<const Operation> operations, const Model& model, const Scratch& scratch) {
  if (operations.empty()) return {};
  return Engine(operations, model, scratch).run();
}

}  // namespace tutti::sim
