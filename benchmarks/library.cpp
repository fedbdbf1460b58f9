// Tutti as a library to be measured.
#include "benchmarks/library.h"

namespace tutti::bench {
namespace {

class TuttiLibrary final : public Library {
 public:
  TuttiLibrary(const CollectiveInfo& collective, tutti_comm_t comm) : collective_(collective), comm_(comm) {}

  const char* name() const override { return "tutti"; }
  void prepare(const Call&) override {}

  int run(const Call& call) noexcept override {
    if (collective_.kind == Kind::broadcast) {
      return tutti_broadcast(call.send, call.recv, call.count, call.datatype, call.root, comm_, nullptr);
    }
    return tutti_all_reduce(call.send, call.recv, call.count, call.datatype, call.op, comm_, nullptr);
  }

  std::string explain(int code) const override {
    const std::string text = tutti_last_error();
    return text.empty() ? tutti_result_name(static_cast<tutti_result_t>(code)) : text;
  }

  std::string algorithm(const Call& call) const override {
    const char* name = tutti_algorithm_name(comm_, collective_.name, call.count, call.datatype);
    return name == nullptr ? "unknown" : name;
  }

 private:
  const CollectiveInfo& collective_;
  tutti_comm_t comm_;
};

}  // namespace

std::unique_ptr<Library> make_tutti_library(const CollectiveInfo& collective, tutti_comm_t comm) {
  return std::make_unique<TuttiLibrary>(collective, comm);
}

}  // namespace tutti::bench
