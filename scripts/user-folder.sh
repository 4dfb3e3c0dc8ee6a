# shellcheck shell=bash
# Sourced by install-user and uninstall-user: the folder, and the list of what was put there.
folder=${XDG_DATA_HOME:-$HOME/.local/share}/gstreamer-1.0/plugins
list=rtmpose.sha256

# Removes what the list names; a file that is no longer the installed one is left and named.
remove_installed() {
  local sum file
  while read -r sum file; do
    rm -f "$folder/$file.part"
    # Where it leads may be gone already.
    if [ -L "$folder/$file" ]; then
      rm "$folder/$file"
      say "Removed $folder/$file"
      continue
    fi
    if [ ! -e "$folder/$file" ]; then continue; fi
    if [ "$(sha256sum <"$folder/$file")" = "$sum  -" ]; then
      rm "$folder/$file"
      say "Removed $folder/$file"
    else
      say "Left $folder/$file: it is not the file that was installed."
    fi
  done <"$folder/$list"
  rm "$folder/$list"
}
