# Warning, hardening and sanitizer flags that every target of the project shares.
add_library(ain_flags INTERFACE)
target_compile_options(ain_flags INTERFACE -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes
                       -Wmissing-prototypes -Wformat=2 -Wno-sign-conversion -Werror -fno-common)
target_compile_definitions(ain_flags INTERFACE _GNU_SOURCE G_LOG_DOMAIN="ainode"
                           GLIB_VERSION_MIN_REQUIRED=GLIB_VERSION_2_66 GLIB_VERSION_MAX_ALLOWED=GLIB_VERSION_2_74)
target_include_directories(ain_flags INTERFACE ${CMAKE_SOURCE_DIR}/host)
if(AIN_SANITIZER)
  add_compile_options(-fsanitize=${AIN_SANITIZER} -fno-omit-frame-pointer -g)
  add_link_options(-fsanitize=${AIN_SANITIZER})
  add_compile_definitions(AIN_SANITIZED)
else()
  add_compile_options(-fstack-protector-strong -ffile-prefix-map=${CMAKE_SOURCE_DIR}=.)
  if(CMAKE_BUILD_TYPE MATCHES "Rel")
    add_compile_options(-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
  endif()
  add_link_options(-Wl,-z,relro,-z,now)
endif()
