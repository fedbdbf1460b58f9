// Which sanitizer this test is built with: under one, the same checks run on a smaller matrix and without bars in time.
#pragma once

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define TUTTI_TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define TUTTI_TEST_SANITIZED 1
#endif
#endif

#ifdef TUTTI_TEST_SANITIZED
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

/// True also in an unoptimised build: the bars in time are those of a release build.
#ifdef __OPTIMIZE__
inline constexpr bool kMeasured = !kSanitized;
#else
inline constexpr bool kMeasured = false;
#endif
