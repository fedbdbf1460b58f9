#include "runtime/bootstrap/parcel_pieces.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "core/error.h"

namespace tutti {

namespace {

constexpr size_t pieces_for(size_t bytes, size_t descriptors) {
  const size_t for_bytes = (bytes + kMaxMessageText - 1) / kMaxMessageText;
  const size_t for_descriptors = (descriptors + kMaxMessageDescriptors - 1) / kMaxMessageDescriptors;
  return std::max({for_bytes, for_descriptors, size_t{1}});
}

constexpr int kMostPieces = static_cast<int>(pieces_for(kMostParcelBytes, kMostParcelDescriptors));

}  // namespace

void check_parcel(const Parcel& parcel, int place) {
  if (parcel.bytes.size() <= kMostParcelBytes && parcel.descriptors.size() <= kMostParcelDescriptors) return;
  raise(Result::invalid_argument,
        "the parcel of local rank {} has {} bytes and {} descriptors, at most {} and {} are allowed", place,
        parcel.bytes.size(), parcel.descriptors.size(), kMostParcelBytes, kMostParcelDescriptors);
}

int piece_count(const Parcel& parcel) {
  return static_cast<int>(pieces_for(parcel.bytes.size(), parcel.descriptors.size()));
}

Piece piece_of(const Parcel& parcel, int place, int number) {
  Piece piece;
  piece.header.type = MessageType::parcel;
  piece.header.rank = place;
  piece.header.size = piece_count(parcel);
  piece.header.code = number;
  const auto k = static_cast<size_t>(number);
  if (const size_t first = k * kMaxMessageText; first < parcel.bytes.size())
    piece.text = parcel.bytes.substr(first, kMaxMessageText);
  const size_t end = std::min((k + 1) * kMaxMessageDescriptors, parcel.descriptors.size());
  for (size_t i = k * kMaxMessageDescriptors; i < end; ++i)
    piece.descriptors.push_back(parcel.descriptors[i].get());
  return piece;
}

void ParcelAssembly::take(Message piece, int place, int sender) {
  const MessageHeader& h = piece.header;
  const bool first = pieces_ == 0;
  const size_t descriptors = parcel_.descriptors.size() + piece.descriptors.size();
  if (h.type != MessageType::parcel || h.rank != place || h.code != next_ || h.size <= next_ ||
      h.size > kMostPieces || (!first && h.size != pieces_) || descriptors > kMostParcelDescriptors) {
    raise(Result::internal_error,
          "local rank {} sent a message of type {}, piece {} of {} of the parcel of local rank {} with {} "
          "descriptors so far; expected piece {} of {} of that of local rank {}",
          sender, static_cast<int>(h.type), h.code, h.size, h.rank, descriptors, next_,
          first ? "any" : std::to_string(pieces_), place);
  }
  pieces_ = h.size;
  ++next_;
  parcel_.bytes += piece.text;
  std::move(piece.descriptors.begin(), piece.descriptors.end(), std::back_inserter(parcel_.descriptors));
}

}  // namespace tutti
