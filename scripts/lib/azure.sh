# shellcheck shell=bash
# Functions of scripts/deploy and scripts/teardown. Every check reports the error and the command that fixes it.

: "${name:=}" # the installation; the scripts read it from their arguments

say() { printf '%s\n' "$*" >&2; }

# fail ERROR FIX: print both and stop.
fail() {
  printf '\n%s: %s\n  %s\n' "$(basename "$0")" "$1" "$2" >&2
  exit 1
}

# at_least VERSION MINIMUM: compare two versions.
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

# need PROGRAM VERSION-COMMAND MINIMUM INSTALLATION-HINT
need() {
  local found
  command -v "$1" >/dev/null || fail "$1 is not installed" "$4"
  found=$(eval "$2" 2>/dev/null | grep -Eo '[0-9]+\.[0-9]+\.[0-9]+' | head -n 1) || found=
  at_least "${found:-0.0.0}" "$3" || fail "$1 ${found:-of an unknown version} is too old: $3 is needed" "$4"
}

check_tools() {
  need curl 'curl --version' 7.76.0 "install it from your system's packages"
  need az 'az version --query "\"azure-cli\"" --output tsv' 2.67.0 "https://learn.microsoft.com/cli/azure/install-azure-cli, or: az upgrade"
  # Older versions ignore .funcignore and pack the whole folder, including .git and .azure/.
  need azd 'azd version' 1.18.0 "https://aka.ms/azd-install"
}

# Sets subscription, subscription_name, user_type, user_name.
check_signed_in() {
  local account
  account=$(az account show --query '[id, name, user.type, user.name]' --output tsv 2>/dev/null) ||
    fail "you are not signed in to Azure" "az login"
  account=$(tr '\t' '\n' <<<"$account")
  { read -r subscription; read -r subscription_name; read -r user_type; read -r user_name; } <<<"$account"
  if [ -n "${1:-}" ] && [ "$1" != "$subscription" ] && [ "$1" != "$subscription_name" ]; then
    fail "you are signed in to the subscription $subscription_name ($subscription), not $1" "az account set --subscription '$1'"
  fi
}

check_azd_signed_in() {
  # The exit status does not report the sign-in, so check the output.
  azd auth login --check-status --output json 2>/dev/null | grep -q '"success"' ||
    fail "azd is not signed in" "azd config set auth.useAzCliAuth true   (azd then uses the sign-in of az), or: azd auth login"
}

# The variables of the azd environment. Read them again after each change.
settings=
read_settings() { settings=$(azd env get-values --environment "$name"); }

# setting NAME: print the value of a variable; empty if it is not set.
setting() { sed -n "s/^$1=\"\(.*\)\"\$/\1/p" <<<"$settings"; }

# keep NAME VALUE: store a variable in the azd environment. $kept collects the old values, newest first.
kept=
keep() {
  [ "$(setting "$1")" != "$2" ] || return 0
  kept="$1=$(setting "$1")"$'\n'"$kept"
  azd env set "$1" "$2" --environment "$name"
  read_settings
}

# Normalize a region's name: "West US 2" becomes westus2.
plain() { printf '%s' "$*" | tr -d ' ' | tr '[:upper:]' '[:lower:]'; }

# check_region LOCATION: the location as `plain` prints it.
check_region() {
  local pools hosts region
  pools=$(az provider show --namespace Microsoft.App \
    --query "resourceTypes[?resourceType=='sessionPools'].locations[]" --output tsv)
  hosts=$(az functionapp list-flexconsumption-locations --query '[].name' --output tsv)
  while read -r region; do
    if [ "$(plain "$region")" = "$1" ]; then
      plain "$hosts" | grep -qx "$1" && return
      fail "Functions Flex Consumption is not offered in $1" "scripts/deploy $name --location REGION, one of: az functionapp list-flexconsumption-locations --output table"
    fi
  done <<<"$pools"
  fail "session pools are not offered in $1" "scripts/deploy $name --location REGION, one of: $(printf '%s' "$pools" | tr '\n' ',' | sed 's/,/, /g')"
}

# check_zones REDUNDANCY LOCATION: not every region offers zone-redundant storage.
check_zones() {
  local regions
  [[ $1 =~ ZRS ]] || return 0
  regions=$(az storage sku list --query "[?name=='$1' && kind=='StorageV2'].locations[]" --output tsv)
  while read -r region; do
    [ "$(plain "$region")" != "$2" ] || return 0
  done <<<"$regions"
  fail "$2 does not offer zone-redundant storage ($1)" "add --set STORAGE_REDUNDANCY=Standard_LRS, or --location REGION, one of: $(tr '\n' ' ' <<<"$regions")"
}

providers='Microsoft.App Microsoft.Web Microsoft.Storage Microsoft.EventGrid Microsoft.Insights
  Microsoft.OperationalInsights Microsoft.ManagedIdentity Microsoft.ContainerRegistry'

# check_providers look|register
check_providers() {
  local provider registered
  registered=$(az provider list --query "[?registrationState=='Registered'].namespace" --output tsv)
  for provider in $providers $([ "$(setting ISOLATE_NETWORK)" != true ] || echo Microsoft.Network); do
    grep -qix "$provider" <<<"$registered" && continue
    if [ "$1" = look ]; then
      say "would register the resource provider $provider"
      continue
    fi
    say "registering the resource provider $provider (a minute, once per subscription)"
    az provider register --namespace "$provider" --wait --output none ||
      fail "the resource provider $provider cannot be registered" "ask an owner of the subscription for: az provider register --namespace $provider"
  done
}

# Check that the signed-in identity may create resources and assign roles to the app's identity.
check_roles() {
  local who roles
  if [ "$user_type" = user ]; then
    who=$(az ad signed-in-user show --query id --output tsv 2>/dev/null) || who=
  else
    who=$(az ad sp show --id "$user_name" --query id --output tsv 2>/dev/null) || who=
  fi
  if [ -z "$who" ]; then
    say "your identity was not found in the directory; the check of your roles is skipped"
    return
  fi
  roles=$(az role assignment list --assignee "$who" --scope "/subscriptions/$subscription" --include-inherited \
    --include-groups --query '[].roleDefinitionName' --output tsv)
  grep -qx 'Owner' <<<"$roles" && return
  grep -qx 'Contributor' <<<"$roles" ||
    fail "$user_name may not create resources in $subscription_name" "ask an owner for: az role assignment create --assignee $who --role Contributor --scope /subscriptions/$subscription"
  grep -qxE 'User Access Administrator|Role Based Access Control Administrator' <<<"$roles" ||
    fail "$user_name may not assign roles to the app" "ask an owner for: az role assignment create --assignee $who --role 'Role Based Access Control Administrator' --scope /subscriptions/$subscription"
}

# A custom-container pool needs a Container Apps environment. Check the quota of environments.
check_quota() {
  local used limit
  read -r used limit <<<"$(az containerapp list-usages --location "$1" \
    --query "[?name.value=='ManagedEnvironmentCount'].[currentValue, limit] | [0]" --output tsv 2>/dev/null </dev/null | tr '\n\t' '  ')" || true
  if [ -n "${limit:-}" ] && [ "${used%.*}" -ge "${limit%.*}" ]; then
    fail "the quota of Container Apps environments in $1 is used up ($used of $limit)" "delete one that is idle (az containerapp env list --output table), take another region, or ask for more: https://aka.ms/azquotas"
  fi
}

# explain LOG: translate known Azure errors of a failed step, and stop.
explain() {
  local log=$1
  if grep -qiE 'AlreadyTaken|AlreadyInUse|already taken|NameUnavailable|WebsiteNameAlreadyExists' "$log"; then
    fail "a name is taken by another customer, or by a resource of yours that was deleted a moment ago" "scripts/deploy OTHER-NAME, or wait some minutes and run: scripts/deploy $name"
  elif grep -qiE 'QuotaExceeded|OverQuota|InsufficientQuota|exceeds? .*quota' "$log"; then
    fail "a quota in this region is too small" "use fewer sessions (scripts/deploy $name --set MAX_SESSIONS=5), use another region, or request more quota: https://aka.ms/azquotas"
  elif grep -qiE 'SessionTypeNotSupportedInRegion|LocationNotAvailable' "$log"; then
    fail "this region does not offer a required resource type" "scripts/deploy $name --location REGION"
  elif grep -qiE 'ImagePull|MANIFEST_UNKNOWN|manifest unknown|failed to pull|unable to pull|image not found' "$log"; then
    fail "the pool cannot pull its image" "scripts/deploy $name   (after the role AcrPull has taken effect)"
  elif grep -qiE 'DeploymentActive|AnotherOperationInProgress|ResourceGroupBeingDeleted|another deployment' "$log"; then
    fail "an earlier deployment or deletion is still running" "wait for its end (az deployment sub list --query \"[?properties.provisioningState=='Running'].name\"), then: scripts/deploy $name"
  elif grep -qiE 'maximumInstanceCount' "$log"; then
    fail "this region does not accept such a low instance limit yet" "scripts/deploy $name --set LEAST_INSTANCES=40"
  elif grep -qiE 'StorageAccountTypeConversion' "$log"; then
    fail "a deployment cannot change the redundancy of a storage account" "keep it as it is: scripts/deploy $name --set STORAGE_REDUNDANCY=Standard_LRS (docs/deploy.md, 'Change the preset')"
  elif grep -qiE 'InvalidResourceGroupLocation|InvalidResourceLocation' "$log"; then
    fail "$name is in another region and cannot be moved" "scripts/deploy $name --location REGION (az group show --name rg-$name-images --query location), or scripts/deploy OTHER-NAME"
  elif grep -qiE 'RoleAssignmentExists|RoleAssignmentUpdateNotPermitted' "$log"; then
    fail "a role is already assigned, by hand or to an identity that no longer exists" "az role assignment delete --ids ID   (the message above contains it; or list them: az role assignment list --all --resource-group rg-$name-images); then: scripts/deploy $name"
  elif grep -qiE 'AuthorizationFailed|does not have authorization' "$log"; then
    fail "a role is missing" "ask an owner of the subscription for Contributor and Role Based Access Control Administrator; then: scripts/deploy $name"
  fi
}

# run STEP COMMAND…: run the command, show its output, and explain a failure.
run() {
  local what=$1 log
  shift
  log=$(mktemp)
  say "== $what"
  if ! "$@" 2>&1 | tee "$log" >&2; then
    explain "$log"
    rm -f "$log"
    fail "$what failed; the error is in the output above" "fix it, then: scripts/deploy $name   (it continues at this step)"
  fi
  rm -f "$log"
}
