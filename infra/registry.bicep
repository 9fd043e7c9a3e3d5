// The registry of the session's image.
param location string
param tags object
param name string
@allowed(['Basic', 'Standard', 'Premium'])
param size string
@description('Principals that may pull.')
param pullers array

resource registry 'Microsoft.ContainerRegistry/registries@2025-11-01' = {
  name: name
  location: location
  tags: tags
  sku: { name: size }
  properties: {
    adminUserEnabled: false
    anonymousPullEnabled: false
    roleAssignmentMode: 'LegacyRegistryPermissions'
  }
}

// AcrPull: a session starts from the image.
resource pull 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for principal in pullers: {
    name: guid(registry.id, principal, 'pull')
    scope: registry
    properties: {
      principalId: principal
      principalType: 'ServicePrincipal'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '7f951dda-4ed3-4680-a7ca-43fe172d538d')
      description: 'Sessions start from the image in here.'
    }
  }
]

output name string = registry.name
output server string = registry.properties.loginServer
