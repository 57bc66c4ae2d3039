"""The gateway and those it is compared with: each is started, fed and watched in the same way."""
