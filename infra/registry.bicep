// The container registry of the session image.
param location string
param tags object
param name string
@allowed(['Basic', 'Standard', 'Premium'])
param size string
@description('Principals that may pull images.')
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

// Role AcrPull: the pool pulls the session image.
resource pull 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for principal in pullers: {
    name: guid(registry.id, principal, 'pull')
    scope: registry
    properties: {
      principalId: principal
      principalType: 'ServicePrincipal'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '7f951dda-4ed3-4680-a7ca-43fe172d538d')
      description: 'Pulls the session image.'
    }
  }
]

output name string = registry.name
output server string = registry.properties.loginServer
