// Three managed identities. The app's identity has all permissions of the pipeline. The pool's identity may only pull the
// session image. Event Grid's identity may only write dead letters. Code in a session has no identity.
param location string
param tags object
param app string
param pool string
param events string

resource appIdentity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: app
  location: location
  tags: tags
}

resource poolIdentity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: pool
  location: location
  tags: tags
}

resource eventIdentity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: events
  location: location
  tags: tags
}

output appId string = appIdentity.id
output appClient string = appIdentity.properties.clientId
output appPrincipal string = appIdentity.properties.principalId
output poolId string = poolIdentity.id
output poolPrincipal string = poolIdentity.properties.principalId
output eventsId string = eventIdentity.id
output eventsPrincipal string = eventIdentity.properties.principalId
