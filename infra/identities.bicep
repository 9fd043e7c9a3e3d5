// Three identities: the app's, which may do all of the pipeline's work; the pool's, which may pull its image and is all
// that a session's host ever holds; Event Grid's, which may write dead letters. The code in a session gets none.
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
