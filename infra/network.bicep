// Private access to storage when public access is disabled: a subnet for the app, and private endpoints with DNS zones.
param location string
param tags object
param name string
param storage string

var services = ['blob', 'queue', 'table']

resource network 'Microsoft.Network/virtualNetworks@2024-05-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    addressSpace: { addressPrefixes: ['10.40.0.0/16'] }
    subnets: [
      {
        name: 'app'
        properties: {
          // Flex Consumption requires this delegation and a separate subnet, with one IP address per instance.
          addressPrefix: '10.40.0.0/22'
          delegations: [{ name: 'app', properties: { serviceName: 'Microsoft.App/environments' } }]
        }
      }
      {
        name: 'storage'
        properties: { addressPrefix: '10.40.4.0/26', privateEndpointNetworkPolicies: 'Disabled' }
      }
    ]
  }
}

resource zone 'Microsoft.Network/privateDnsZones@2020-06-01' = [
  for service in services: {
    name: 'privatelink.${service}.${environment().suffixes.storage}'
    location: 'global'
    tags: tags
  }
]

resource link 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2020-06-01' = [
  for (service, index) in services: {
    parent: zone[index]
    name: name
    location: 'global'
    properties: { registrationEnabled: false, virtualNetwork: { id: network.id } }
  }
]

resource endpoint 'Microsoft.Network/privateEndpoints@2024-05-01' = [
  for service in services: {
    name: 'pe-${service}-${name}'
    location: location
    tags: tags
    properties: {
      subnet: { id: '${network.id}/subnets/storage' }
      privateLinkServiceConnections: [
        { name: service, properties: { privateLinkServiceId: storage, groupIds: [service] } }
      ]
    }
  }
]

resource address 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2024-05-01' = [
  for (service, index) in services: {
    parent: endpoint[index]
    name: 'default'
    properties: {
      privateDnsZoneConfigs: [{ name: service, properties: { privateDnsZoneId: zone[index].id } }]
    }
  }
]

output appSubnet string = '${network.id}/subnets/app'
